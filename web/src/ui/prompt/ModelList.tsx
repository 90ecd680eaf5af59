//! The models to choose from, by lane, with price and context. Loaded on demand.

import { Check, Search } from "lucide-react";
import {
  Autocomplete,
  Header,
  Input,
  ListBox,
  ListBoxItem,
  ListBoxSection,
  SearchField,
  useFilter,
} from "react-aria-components";
import type { ModelInfo } from "../../protocol/resources.ts";
import { contextSize } from "../units.ts";
import { priceOf } from "./price.ts";

export interface ModelListProps {
  readonly models: readonly ModelInfo[];
  readonly chosen: string;
  readonly onChoose: (id: string) => void;
}

export function ModelList({ models, chosen, onChoose }: ModelListProps) {
  const { contains } = useFilter({ sensitivity: "base" });
  const lanes = [...new Set(models.map((model) => model.lane))];
  return (
    <Autocomplete filter={contains}>
      <SearchField aria-label="Find a model" autoFocus className="find">
        <Search className="i i14" aria-hidden="true" />
        <Input className="bare" placeholder="Find a model" />
      </SearchField>
      <ListBox
        className="list"
        aria-label="Models"
        selectionMode="single"
        selectedKeys={[chosen]}
        onSelectionChange={(keys) => {
          const [key] = keys;
          onChoose(key === undefined ? chosen : String(key));
        }}
        renderEmptyState={() => (
          <p className="help" style={{ padding: 12 }}>
            No model has that name.
          </p>
        )}
      >
        {lanes.map((lane) => (
          <ListBoxSection key={lane} id={lane}>
            <Header className="head">{lane}</Header>
            {models
              .filter((model) => model.lane === lane)
              .map((model) => (
                <ModelItem key={model.id} model={model} chosen={model.id === chosen} />
              ))}
          </ListBoxSection>
        ))}
      </ListBox>
    </Autocomplete>
  );
}

function ModelItem({ model, chosen }: { readonly model: ModelInfo; readonly chosen: boolean }) {
  const facts = [
    model.context_tokens === undefined ? "" : contextSize(model.context_tokens),
    pricesOf(model),
    model.notice ?? "",
  ];
  return (
    <ListBoxItem id={model.id} textValue={`${model.label} ${model.id}`} className="item">
      <span>{chosen && <Check className="i i14 live-i" aria-hidden="true" />}</span>
      <span className="name cut">{model.label}</span>
      <span className="num t2">{priceOf(model)}</span>
      <span className="sub">{facts.filter(Boolean).join(" · ")}</span>
    </ListBoxItem>
  );
}

function pricesOf({ price }: ModelInfo): string {
  if (!price) return "price unknown";
  if (price.input_nanos_per_mtok === 0 && price.output_nanos_per_mtok === 0) return "";
  return `in / out for a million tokens, as of ${price.as_of}`;
}
