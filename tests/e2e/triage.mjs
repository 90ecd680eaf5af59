// A prompt as people write them, for tests in which one looks at the page.
const SYSTEM = `You triage support tickets for {{company}}, a parcel-tracking API used by online
shops. For each ticket decide:

1. category: billing, delivery, integration, account or abuse
2. urgency: P1 (revenue or data at risk now) to P4 (question)
3. next step: what the on-call person does first, in one sentence

## Rules
- Quote the customer as evidence, at most 20 words.
- If a carrier outage in {{known_incidents}} explains the ticket, give its id
  and do not ask for more logs.
- Never promise refunds. Say who decides instead.
- Draft the reply in {{language}}, under 120 words.`;

export const TRIAGE = {
  variants: [
    {
      id: 'main',
      name: 'A',
      model: 'local/llama-3.3-70b',
      parameters: { temperature: 0.2, max_tokens: 1024 },
      system: SYSTEM,
      messages: [
        { role: 'user', text: '<ticket tier="starter">How do I rotate my API key?</ticket>' },
        { role: 'assistant', text: 'category: account · urgency: P4\nnext step: point to Settings → API keys → Rotate' },
        { role: 'user', text: '<ticket tier="{{tier}}">{{ticket}}</ticket>\nTriage this ticket, then draft the first reply.' },
      ],
    },
  ],
  variables: [
    { name: 'ticket', type: 'text' },
    { name: 'company', type: 'text', default: 'Parcelwise' },
    { name: 'tier', type: 'text' },
    { name: 'known_incidents', type: 'json' },
    { name: 'language', type: 'text', default: 'English' },
  ],
  inputs: [
    {
      id: 'default',
      name: 'Webhooks silent',
      values: {
        ticket: 'Webhooks stopped at 06:40 and 212 orders show as unshipped. We changed nothing. DHL shows the parcels as delivered.',
        tier: 'scale',
        known_incidents: '[{"id": "INC-2291", "carrier": "DHL", "since": "06:35"}]',
      },
    },
  ],
};

export const ANSWER = `| | |
|---|---|
| category | **integration** |
| urgency | **P1**, revenue at risk: 212 orders look unshipped |
| evidence | “Webhooks stopped at 06:40 and 212 orders show as unshipped” |
| incident | \`INC-2291\` DHL webhook deliveries delayed since 06:35 UTC |
| next step | Replay failed deliveries for this shop from 06:35 once INC-2291 is mitigated, and confirm the 212 order ids. |

#### Draft reply

Hi there,

You changed nothing, and nothing is wrong on your side. Since 06:35 UTC our webhook deliveries for DHL parcels have been delayed (incident INC-2291). Tracking itself is correct, which is why DHL shows these parcels as delivered while your back office does not.

The 212 events are queued, not lost. As soon as the delay is resolved we will replay them in order, so your orders should update without any work from`;
