//! Keeps every local change of an editor in whole characters and plain line ends, before it reaches the shared text.

import { EditorState, Transaction, type TransactionSpec } from "@codemirror/state";
import { ySyncAnnotation } from "y-codemirror.next";
import { splitsPair } from "../room/text.ts";

interface Change {
  from: number;
  to: number;
  insert: string;
}

/** A change that cuts a surrogate pair takes the whole character; lone halves and carriage returns are replaced. */
export const wholeCharacters = EditorState.transactionFilter.of((transaction) => {
  if (!transaction.docChanged || transaction.annotation(ySyncAnnotation) !== undefined) return transaction;
  const { doc } = transaction.startState;
  const changes: Change[] = [];
  let isChanged = false;
  transaction.changes.iterChanges((fromA, toA, _fromB, _toB, inserted) => {
    const text = inserted.sliceString(0, inserted.length, "\n");
    const from = cuts(doc, fromA) ? fromA - 1 : fromA;
    const to = cuts(doc, toA) ? toA + 1 : toA;
    // What the snapped edges took along of a kept half would be lost: the other half alone means nothing.
    const insert = text.replace(/\r\n?/g, "\n").toWellFormed();
    isChanged ||= from !== fromA || to !== toA || insert !== text;
    changes.push({ from, to, insert });
  });
  return isChanged ? respecified(transaction, changes) : transaction;
});

function respecified(transaction: Transaction, changes: Change[]): TransactionSpec {
  const userEvent = transaction.annotation(Transaction.userEvent);
  const last = changes.at(-1);
  const grown = changes.reduce((sum, change) => sum + change.insert.length - (change.to - change.from), 0);
  return {
    changes,
    ...(last === undefined ? {} : { selection: { anchor: last.to + grown } }),
    scrollIntoView: transaction.scrollIntoView,
    effects: transaction.effects,
    ...(userEvent === undefined ? {} : { userEvent }),
  };
}

function cuts(doc: EditorState["doc"], index: number): boolean {
  if (index <= 0 || index >= doc.length) return false;
  return splitsPair(doc.sliceString(index - 1, index + 1), 1);
}
