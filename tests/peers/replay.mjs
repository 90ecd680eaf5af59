// Reads one update from its input and prints a root text of the fresh Yjs document that took it.
import { buffer } from 'node:stream/consumers';
import * as Y from 'yjs';

const doc = new Y.Doc();
Y.applyUpdate(doc, new Uint8Array(await buffer(process.stdin)));
if (doc.store.pendingStructs !== null || doc.store.pendingDs !== null) {
  throw new Error('the update rests on something that it does not hold');
}
process.stdout.write(doc.getText(process.argv[2]).toString());
