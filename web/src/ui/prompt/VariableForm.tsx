//! One field for each variable.

import { Ellipsis } from "lucide-react";
import { memo, useEffect, useRef } from "react";
import { bindTextField } from "../../editor/field.ts";
import type { PromptDocument, Variable, VariableType } from "../../room/api.ts";
import { EDIT } from "../../room/schema.ts";
import { replaceText } from "../../room/text.ts";
import type { MenuEntry } from "../overlays/entries.ts";
import { MenuButton } from "../overlays/MenuButton.tsx";
import { usePromptDocument, useRoom } from "../room/RoomContext.ts";
import { toast } from "../toasts.ts";
import { plural } from "../units.ts";

/** A value longer than this gets the large field. */
const LARGE_CHARACTERS = 48;

export interface VariableFormProps {
  readonly variables: readonly Variable[];
  readonly readOnly: boolean;
}

export function VariableForm({ variables, readOnly }: VariableFormProps) {
  // Chosen on arrival, so that no field changes its size under one's fingers.
  const large = useRef<string | null>(null);
  large.current ??= largest(variables)?.name ?? null;
  const first = variables.filter((variable) => variable.name === large.current);
  const others = variables.filter((variable) => variable.name !== large.current);
  return (
    <div className={variables.length < 3 ? "vars few" : "vars"}>
      {[...first, ...others].map((variable) => (
        <VariableField
          key={variable.name}
          variable={variable}
          large={variable.name === large.current}
          readOnly={readOnly}
        />
      ))}
    </div>
  );
}

interface VariableFieldProps {
  readonly variable: Variable;
  readonly large: boolean;
  readonly readOnly: boolean;
}

const VariableField = memo(function VariableField({ variable, large, readOnly }: VariableFieldProps) {
  const room = useRoom();
  const prompt = usePromptDocument();
  const area = useRef<HTMLTextAreaElement>(null);
  const { value } = variable;
  useEffect(() => {
    if (area.current) return bindTextField(area.current, value, room);
    return undefined;
  }, [room, value]);
  const unset = variable.used && variable.source === "unset";
  const classes = [large ? "big" : "", unset ? "unset" : "", variable.used ? "" : "unused"].filter(Boolean).join(" ");
  return (
    <div className={classes}>
      <span className="nm">
        <span className="cut">{variable.name}</span>
        <em className={unset ? "unset" : ""}>{describe(variable)}</em>
        {!readOnly && (
          <MenuButton label={`Actions for ${variable.name}`} className="" entries={() => entriesOf(prompt, variable)}>
            <Ellipsis className="i i14" aria-hidden="true" />
          </MenuButton>
        )}
      </span>
      <textarea
        ref={area}
        className="input"
        rows={1}
        readOnly={readOnly}
        spellCheck={false}
        aria-label={`Value of ${variable.name}`}
        placeholder={variable.source === "default" ? variable.effective : "no value yet"}
      />
    </div>
  );
});

/** The longest text, if it is long. */
function largest(variables: readonly Variable[]): Variable | undefined {
  return variables
    .filter(({ used, effective }) => used && (effective.length > LARGE_CHARACTERS || effective.includes("\n")))
    .toSorted((one, other) => other.effective.length - one.effective.length)[0];
}

function describe(variable: Variable): string {
  if (!variable.used) return "not in the prompt";
  if (variable.source === "unset") return "unset";
  if (variable.source === "default") return "default";
  if (variable.type !== "text") return variable.type;
  const words = variable.effective.split(/\s+/).filter(Boolean).length;
  return words > 3 ? `text · ${plural(words, "word")}` : "text";
}

const TYPES: readonly VariableType[] = ["text", "json", "number", "boolean"];

function entriesOf(prompt: PromptDocument, variable: Variable): readonly MenuEntry[] {
  const value = variable.value.read();
  const entries: MenuEntry[] = [
    {
      kind: "group",
      id: "type",
      label: "Type",
      actions: TYPES.map((type) => ({
        kind: "action",
        id: type,
        label: type,
        chosen: variable.type === type,
        onAction: () => prompt.setVariableType(variable.name, type),
      })),
    },
    { kind: "rule", id: "rule" },
    {
      kind: "action",
      id: "default",
      label: "Use this value as the default",
      disabled: value === "" || value === variable.default.read(),
      onAction: () => makeDefault(variable, value),
    },
  ];
  if (!variable.used) {
    entries.push({
      kind: "action",
      id: "remove",
      label: "Remove",
      danger: true,
      onAction: () => toast(`${variable.name} was removed`, { undo: prompt.removeVariable(variable.name) }),
    });
  }
  return entries;
}

function makeDefault(variable: Variable, value: string): void {
  const text = variable.default.ensure();
  text.doc?.transact(() => replaceText(text, value), EDIT);
}
