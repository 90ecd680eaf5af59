//! Who may do what in a prompt: one function for HTTP and for sockets.

use promptroom_protocol::{MemberId, Rights, Role};

/// Who sees a prompt besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    Private,
    Workspace,
}

impl Visibility {
    pub fn name(self) -> &'static str {
        match self {
            Visibility::Private => "private",
            Visibility::Workspace => "workspace",
        }
    }

    pub fn parse(text: &str) -> Option<Visibility> {
        [Visibility::Private, Visibility::Workspace].into_iter().find(|visibility| visibility.name() == text)
    }
}

/// The rights of a member in a prompt, or `None` where the prompt is as if it did not exist.
pub fn rights(member: MemberId, role: Role, owner: MemberId, visibility: Visibility) -> Option<Rights> {
    let own = member == owner;
    if visibility == Visibility::Private && !own {
        return None;
    }
    let of_role = role.rights();
    Some(Rights { manage: of_role.manage || (own && of_role.edit), ..of_role })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ANA: MemberId = MemberId(Uuid::from_u128(1));
    const RAVI: MemberId = MemberId(Uuid::from_u128(2));

    #[test]
    fn a_private_prompt_does_not_exist_for_others_not_even_for_the_workspace_owner() {
        assert_eq!(rights(RAVI, Role::Owner, ANA, Visibility::Private), None);
        assert!(rights(ANA, Role::Editor, ANA, Visibility::Private).is_some_and(|rights| rights.manage));
    }

    #[test]
    fn a_lowered_role_lowers_the_rights_in_ones_own_prompts_too() {
        let lowered = rights(ANA, Role::Viewer, ANA, Visibility::Workspace).expect("still visible");
        assert_eq!(lowered, Rights { edit: false, run: false, manage: false });
    }
}
