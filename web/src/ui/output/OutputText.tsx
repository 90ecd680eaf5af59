//! The blocks of an output: text, reasoning, tool calls. React draws the frames; the text itself goes past it.

import { Brain, ChevronRight, Wrench } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import type { Output, OutputBlock, OutputView } from "../../room/api.ts";
import { useReadable } from "../readable.ts";
import { duration } from "../units.ts";
import { StreamedText } from "./StreamedText.ts";
import { parseCallHead, type ToolCallHead, ToolCallReader } from "./ToolCallReader.ts";

const RESUME_MARK_MS = 4_000;

export interface OutputTextProps {
  readonly output: Output;
  readonly raw: boolean;
  readonly live: boolean;
  readonly onGrow: () => void;
}

export function OutputText(props: OutputTextProps) {
  const view = useReadable(props.output.view);
  if (view.blocks.length === 0 && props.live) return <span className="caret" />;
  return view.blocks.map((block) => <Part key={`${block.block} ${props.raw}`} block={block} view={view} {...props} />);
}

interface PartProps extends OutputTextProps {
  readonly block: OutputBlock;
  readonly view: OutputView;
}

function Part(props: PartProps) {
  switch (props.block.kind) {
    case "text":
      return <TextPart {...props} format={!props.raw} />;
    case "reasoning":
      return <ReasoningPart {...props} />;
    case "tool_call":
      return <ToolCallPart {...props} />;
    default:
      props.block.kind satisfies never;
      return null;
  }
}

function TextPart({ output, block, view, live, onGrow, format }: PartProps & { readonly format: boolean }) {
  const parent = useRef<HTMLDivElement>(null);
  const stream = useRef<StreamedText | null>(null);
  const { seams, resumed } = view;
  const isLast = view.blocks.at(-1)?.block === block.block;
  useEffect(() => {
    if (!parent.current) return undefined;
    const text = new StreamedText(parent.current, { format, readAll: () => output.text(block.block), onGrow });
    stream.current = text;
    const stop = output.read(block.block, text);
    return () => {
      stop();
      text.dispose();
      stream.current = null;
    };
  }, [output, block.block, format, onGrow]);
  useEffect(() => {
    stream.current?.setSeams(seams.filter((seam) => seam.block === block.block));
  }, [seams, block.block]);
  useEffect(() => {
    stream.current?.setCaret(live && isLast && view.phase !== "ended");
  }, [live, isLast, view.phase]);
  useEffect(() => {
    if (resumed?.block !== block.block || Date.now() - resumed.resumedAtMs > RESUME_MARK_MS) return undefined;
    return stream.current?.showMark(`resumed after ${duration(resumed.awayMs)}, nothing missing`, RESUME_MARK_MS);
  }, [resumed, block.block]);
  return <div className="part" ref={parent} />;
}

function ReasoningPart(props: PartProps) {
  const [open, setOpen] = useState(props.live && props.view.blocks.length === 1);
  return (
    <details className="part thought" open={open || props.raw} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <ChevronRight className="i i12 turn" aria-hidden="true" />
        <Brain className="i i14 t3" aria-hidden="true" /> Reasoning
      </summary>
      <div className="body">
        <TextPart {...props} format={false} />
      </div>
    </details>
  );
}

function ToolCallPart({ output, block, onGrow }: PartProps) {
  const parent = useRef<HTMLDivElement>(null);
  const [head, setHead] = useState<ToolCallHead | null>(() => parseCallHead(output.text(block.block)));
  useEffect(() => {
    if (!parent.current) return undefined;
    const reader = new ToolCallReader(parent.current, {
      readAll: () => output.text(block.block),
      onGrow,
      onHead: setHead,
    });
    const stop = output.read(block.block, reader);
    return () => {
      stop();
      reader.dispose();
    };
  }, [output, block.block, onGrow]);
  return (
    <section className="part call" aria-label="Tool call">
      <header>
        <Wrench className="i i14 t3" aria-hidden="true" /> Calls <span className="mono">{head?.name ?? "a tool"}</span>
        <span className="grow" />
        {head && <span className="t3 mono cut">{head.id}</span>}
      </header>
      <div className="body" ref={parent} />
    </section>
  );
}
