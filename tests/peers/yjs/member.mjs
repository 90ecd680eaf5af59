// One person's Yjs document in a prompt, and everything that such a person does to it at random.
import * as Y from 'yjs';

const WORDS = ['a', 'tea', ' ', '\n', '{{name}}', 'é', '😀', '👩‍👩‍👧', '🇩🇪', '漢字', '𝒳', 'e\u0301'];
const KEYS = ['Zz', 'a0', 'a0V', 'a1', 'a2', 'b00'];

/** The first state of a prompt: schema 1 of the document. */
export function plant(doc) {
  doc.transact(() => {
    doc.getMap('meta').set('schema', 1);
    const variant = entry(doc.getMap('variants'), 'main', 'a0');
    variant.set('name', 'A');
    variant.set('model', 'demo/markdown');
    variant.set('params', new Y.Map());
    variant.set('system', new Y.Text());
    variant.set('messages', new Y.Map());
    variant.set('tools', new Y.Map());
    variant.set('schema', new Y.Text());
    message(variant.get('messages'), 'first', 'a0');
    const inputs = entry(doc.getMap('inputs'), 'default', 'a0');
    inputs.set('name', 'Default');
    inputs.set('values', new Y.Map());
  });
}

function entry(list, id, order) {
  const map = new Y.Map();
  list.set(id, map);
  map.set('order', order);
  map.set('deleted', false);
  return map;
}

function message(messages, id, order) {
  const map = entry(messages, id, order);
  map.set('role', 'user');
  const parts = new Y.Map();
  map.set('parts', parts);
  const part = new Y.Map();
  parts.set('text', part);
  part.set('kind', 'text');
  part.set('order', 'a0');
  part.set('text', new Y.Text());
  return map;
}

export class Member {
  #random;
  #undo;
  /** Frames since the last time they were taken, as a provider would send them. */
  #frames = [];
  #vectors = [];

  constructor(random, clientId) {
    this.#random = random;
    this.doc = new Y.Doc();
    this.doc.clientID = clientId;
    this.doc.on('update', (frame, origin) => {
      if (origin !== 'remote') {
        this.#frames.push(frame);
      }
    });
    const roots = [this.doc.getText('title'), this.doc.getMap('variants'), this.doc.getMap('variables')];
    this.#undo = new Y.UndoManager([...roots, this.doc.getMap('inputs')], {
      trackedOrigins: new Set(['typed']),
      captureTimeout: 0,
    });
  }

  receive(frame) {
    Y.applyUpdate(this.doc, frame, 'remote');
  }

  get waits() {
    return this.doc.store.pendingStructs !== null || this.doc.store.pendingDs !== null;
  }

  /** What was done since the last time: frame by frame, joined, or as the answer to an old state vector. */
  takeFrames() {
    const frames = this.#frames;
    this.#frames = [];
    if (frames.length > 1 && this.#random.chance(25)) {
      return [Y.mergeUpdates(frames)];
    }
    if (!this.waits && this.#random.chance(15)) {
      const vector = this.#vectors.length > 0 ? this.#random.pick(this.#vectors) : undefined;
      frames.push(Y.encodeStateAsUpdate(this.doc, vector));
    }
    if (!this.waits) {
      this.#vectors.push(Y.encodeStateVector(this.doc));
    }
    return frames;
  }

  act() {
    const random = this.#random;
    const choice = random.below(100);
    if (choice < 12) {
      this.#undo.undo();
    } else if (choice < 18) {
      this.#undo.redo();
    } else if (choice < 26) {
      this.#addSomething();
    } else {
      this.doc.transact(() => {
        for (let count = random.below(3); count >= 0; count -= 1) {
          this.#changeSomething();
        }
      }, 'typed');
    }
  }

  /** What is nested is made outside of undo, hidden; showing it can then be undone. */
  #addSomething() {
    const random = this.#random;
    const id = `m${this.doc.clientID}-${random.below(1e6)}`;
    let made;
    this.doc.transact(() => {
      const choice = random.below(3);
      if (choice === 0) {
        made = message(this.#variant().get('messages'), id, random.pick(KEYS));
      } else if (choice === 1) {
        const name = random.pick(['name', 'topic', 'größe', 'n']);
        made = this.doc.getMap('variables').get(name);
        if (made === undefined) {
          made = entry(this.doc.getMap('variables'), name, random.pick(KEYS));
          made.set('type', 'text');
          made.set('default', new Y.Text());
        }
      } else {
        const values = this.doc.getMap('inputs').get('default').get('values');
        const name = random.pick(['name', 'topic', 'x']);
        if (!values.has(name)) {
          values.set(name, new Y.Text());
        }
      }
      made?.set('deleted', true);
    }, 'structure');
    if (made !== undefined) {
      this.doc.transact(() => made.set('deleted', false), 'typed');
    }
  }

  #changeSomething() {
    const random = this.#random;
    const choice = random.below(100);
    if (choice < 60) {
      this.#type(random.pick(this.#texts()));
    } else if (choice < 85) {
      const moved = random.pick([...this.#messages(), ...this.doc.getMap('variables').values()]);
      const set = random.pick([
        ['order', random.pick(KEYS) + random.below(9)],
        ['deleted', random.chance(50)],
        ['role', random.pick(['user', 'assistant'])],
      ]);
      moved.set(...set);
    } else if (choice < 95) {
      const params = this.#variant().get('params');
      const name = random.pick(['temperature', 'top_p', 'max_tokens', 'stop', 'seed']);
      if (random.chance(20)) {
        params.delete(name);
      } else {
        params.set(name, random.pick([0, 0.5, -1, 2 ** 31, 1e100, 'x\n😀', null, true]));
      }
    } else {
      this.#variant().set(random.pick(['name', 'model']), random.pick(WORDS));
    }
  }

  /** Replaces a stretch as an editor would, in whole code points. */
  #type(text) {
    const random = this.#random;
    const letters = [...text.toString()];
    const from = random.below(letters.length + 1);
    const removed = random.chance(40) ? letters.slice(from, from + random.below(6)).join('').length : 0;
    const at = letters.slice(0, from).join('').length;
    if (removed > 0) {
      text.delete(at, removed);
    }
    if (removed === 0 || random.chance(50)) {
      let typed = '';
      for (let count = random.below(4); count >= 0; count -= 1) {
        typed += random.pick(WORDS);
      }
      text.insert(at, typed);
    }
  }

  #variant() {
    return this.doc.getMap('variants').get('main');
  }

  #messages() {
    return [...this.#variant().get('messages').values()];
  }

  #texts() {
    const inputs = this.doc.getMap('inputs').get('default');
    return [
      this.doc.getText('title'),
      this.#variant().get('system'),
      ...this.#messages().map((map) => map.get('parts').get('text').get('text')),
      ...[...this.doc.getMap('variables').values()].map((map) => map.get('default')),
      ...inputs.get('values').values(),
    ];
  }
}
