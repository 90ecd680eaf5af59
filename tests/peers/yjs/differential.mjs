// Real Yjs beside the server's document; one JSON object a line, bytes in base64.
//   rounds --seed N --rounds K   random sessions: the frames as they reach the server, and what all members end with
//   corpus --seed N --rounds K   the frames of such sessions in order, one a line, sessions apart by an empty line
//   verify                       reads {"state"} lines and says what a fresh Yjs document makes of each
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import * as Y from 'yjs';
import { Member, plant } from './member.mjs';
import { Random } from './random.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' }, rounds: { type: 'string', default: '1' } },
});

const modes = { rounds, corpus, verify };
await modes[positionals[0]]?.();

async function rounds() {
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const random = new Random(Number(values.seed) + round * 7919);
    const { frames, members } = session(random);
    for (const member of members) {
      frames.forEach((frame) => member.receive(frame));
    }
    const prints = members.map((member) => print(member.doc));
    if (prints.some((other) => other !== prints[0]) || members.some((member) => member.waits)) {
      throw new Error(`Yjs differs from itself in round ${round}`);
    }
    const delivered = random.shuffle([...frames, ...frames.filter(() => random.chance(30))]);
    await write({ frames: delivered.map(base64), state: base64(Y.encodeStateAsUpdate(members[0].doc)), print: prints[0] });
  }
}

async function corpus() {
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const { frames } = session(new Random(Number(values.seed) + round * 7919));
    process.stdout.write(`${frames.map(base64).join('\n')}\n\n`);
  }
}

async function verify() {
  for await (const line of createInterface({ input: process.stdin })) {
    const doc = new Y.Doc();
    Y.applyUpdate(doc, Buffer.from(JSON.parse(line).state, 'base64'));
    const waits = doc.store.pendingStructs !== null || doc.store.pendingDs !== null;
    await write({ waits, print: print(doc), title: doc.getText('title').toString(), clocks: clocks(doc) });
  }
}

/** Two to four people who edit at once; what one does reaches the others late, and some go offline for a while. */
function session(random) {
  const first = new Y.Doc();
  first.clientID = random.clientId();
  plant(first);
  const frames = [Y.encodeStateAsUpdate(first)];
  const members = Array.from({ length: 2 + random.below(3) }, () => new Member(random, random.clientId()));
  const seen = members.map(() => 0);
  const catchUp = (number) => {
    for (; seen[number] < frames.length; seen[number] += 1) {
      members[number].receive(frames[seen[number]]);
    }
  };
  members.forEach((_, number) => catchUp(number));
  for (let step = 0; step < 30; step += 1) {
    const number = random.below(members.length);
    members[number].act();
    if (random.chance(50)) {
      frames.push(...members[number].takeFrames());
    }
    if (random.chance(40)) {
      catchUp(random.below(members.length));
    }
  }
  for (const member of members) {
    frames.push(...member.takeFrames());
  }
  return { frames, members };
}

/** A hash over content, clocks and deletions: equal documents have the same. */
function print(doc) {
  const content = {
    meta: doc.getMap('meta').toJSON(),
    title: doc.getText('title').toString(),
    variants: doc.getMap('variants').toJSON(),
    variables: doc.getMap('variables').toJSON(),
    inputs: doc.getMap('inputs').toJSON(),
  };
  const deletions = [...Y.createDeleteSetFromStructStore(doc.store).clients]
    .map(([client, ranges]) => [client, ranges.map(({ clock, len }) => [clock, len])])
    .sort(([left], [right]) => left - right);
  const whole = sorted({ content, clocks: clocks(doc), deletions });
  return createHash('sha256').update(JSON.stringify(whole)).digest('hex');
}

function clocks(doc) {
  return [...Y.decodeStateVector(Y.encodeStateVector(doc))].sort(([left], [right]) => left - right);
}

function sorted(value) {
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  if (value !== null && typeof value === 'object') {
    const keys = Object.keys(value).sort();
    return Object.fromEntries(keys.map((key) => [key, sorted(value[key])]));
  }
  return value;
}

function base64(bytes) {
  return Buffer.from(bytes).toString('base64');
}

function write(object) {
  return new Promise((resolve) => process.stdout.write(`${JSON.stringify(object)}\n`, resolve));
}
