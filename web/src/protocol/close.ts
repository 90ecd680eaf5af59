//! Why a socket was closed: 44xx is for good, everything else is for now.

export const CLOSE = {
  malformed: 4400,
  signInNeeded: 4401,
  forbidden: 4403,
  notFound: 4404,
  lineageChanged: 4409,
  deleted: 4410,
  tooLarge: 4413,
  unsupported: 4415,
  versionUnknown: 4426,
  roomRestarted: 4500,
  tooSlow: 4501,
  full: 4502,
  draining: 4503,
  idle: 4504,
  outOfStep: 4505,
  unavailable: 4506,
} as const;

/** Whether coming back with the same credentials and the same content can never help. */
export function isPermanentClose(code: number): boolean {
  return code >= 4400 && code < 4500;
}
