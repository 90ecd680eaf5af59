// The stock Yjs client, as anybody would use it in Node.
import { WebSocket } from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { until } from '../until.mjs';

export class Stock {
  doc = new Y.Doc();
  /** How often the socket opened. */
  connections = 0;
  /** Close codes, in order. */
  closed = [];

  constructor(server, prompt, token, options = {}) {
    const { params, ...rest } = options;
    this.provider = new WebsocketProvider(server.ws, prompt, this.doc, {
      WebSocketPolyfill: WebSocket,
      protocols: ['promptroom', `token.${token}`],
      params: { create: '1', ...params },
      disableBc: true,
      maxBackoffTime: 500,
      ...rest,
    });
    this.provider.on('status', ({ status }) => {
      this.connections += status === 'connected' ? 1 : 0;
    });
    this.provider.on('connection-close', (event) => {
      this.closed.push(event?.code);
    });
  }

  get text() {
    return this.doc.getText('notes');
  }

  get awareness() {
    return this.provider.awareness;
  }

  synced() {
    return until('sync', () => this.provider.synced);
  }

  /** Waits until the text satisfies `condition`. */
  sees(condition) {
    return until(`a text, which is now ${JSON.stringify(this.text.toString().slice(0, 200))}`, () => condition(this.text.toString()));
  }

  /** Names of those present, its own included, sorted. */
  names() {
    return [...this.awareness.getStates().values()].map((state) => state.user?.name).filter(Boolean).sort();
  }

  /** Says that its caret is there, as editors for Yjs do. */
  setCaret(text, index) {
    const place = Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, index));
    this.awareness.setLocalStateField('cursor', { anchor: place, head: place });
  }

  /** Where it sees the caret that an awareness state tells of. */
  caretOf(state) {
    if (!state?.cursor) return undefined;
    return Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(state.cursor.head), this.doc)?.index;
  }

  destroy() {
    this.provider.destroy();
    this.doc.destroy();
  }
}

/** State vector and content: what two equal documents share. */
export function print(doc) {
  const vector = Object.fromEntries([...Y.decodeStateVector(Y.encodeStateVector(doc))].sort(([a], [b]) => a - b));
  const deletions = Y.createDeleteSetFromStructStore(doc.store).clients;
  const deleted = [...deletions].sort(([a], [b]) => a - b).map(([client, items]) => [client, items.map(({ clock, len }) => [clock, len])]);
  return JSON.stringify({ text: doc.getText('notes').toString(), vector, deleted });
}
