//! Why a socket was closed. Stock clients never return after 4400–4499 and retry after anything else.

/// A close code of ours: 44xx is for good, 45xx is for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The bytes are not a frame of this protocol.
    Malformed = 4400,
    /// No valid session or token.
    SignInNeeded = 4401,
    /// Signed in, but without the right to do that.
    Forbidden = 4403,
    /// No such prompt, or none that may be seen.
    NotFound = 4404,
    /// The client holds another history of this prompt; it must start from an empty document.
    LineageChanged = 4409,
    /// The prompt was deleted.
    Deleted = 4410,
    /// A frame, or the document, is over its limit.
    TooLarge = 4413,
    /// Well-formed Yjs content that a prompt cannot hold (arrays, XML, formats, embeds, subdocuments).
    Unsupported = 4415,
    /// The client asked for a version of our frames that is not spoken here.
    VersionUnknown = 4426,
    /// The room started a new life; connect again and send what is not saved.
    RoomRestarted = 4500,
    /// The reader fell behind; connect again with what it has.
    TooSlow = 4501,
    /// The room or the node is full.
    Full = 4502,
    /// The node is going away.
    Draining = 4503,
    /// Nothing was read or written for too long.
    Idle = 4504,
    /// An edit rests on one that never came; connect again, so that it comes along.
    OutOfStep = 4505,
    /// The node cannot read or write its database.
    Unavailable = 4506,
}

impl CloseCode {
    pub const ALL: [CloseCode; 16] = [
        CloseCode::Malformed,
        CloseCode::SignInNeeded,
        CloseCode::Forbidden,
        CloseCode::NotFound,
        CloseCode::LineageChanged,
        CloseCode::Deleted,
        CloseCode::TooLarge,
        CloseCode::Unsupported,
        CloseCode::VersionUnknown,
        CloseCode::RoomRestarted,
        CloseCode::TooSlow,
        CloseCode::Full,
        CloseCode::Draining,
        CloseCode::Idle,
        CloseCode::OutOfStep,
        CloseCode::Unavailable,
    ];

    pub fn number(self) -> u16 {
        self as u16
    }

    /// Whether coming back with the same credentials and the same content can never help.
    pub fn is_permanent(self) -> bool {
        (4400..4500).contains(&self.number())
    }
}
