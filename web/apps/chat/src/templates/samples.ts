/** Templates to start from: each shows one thing that templates can do. */

import type { Shared } from "./share.ts";

export interface Sample extends Shared {
  readonly about: string;
}

const text = (value: string) => ({ text: value, json: false });

export const SAMPLES: readonly Sample[] = [
  {
    name: "A story, in parts",
    about: "Free text, typed slots, a block asked together, a condition",
    inputs: { topic: text("a lighthouse keeper who is afraid of the dark") },
    text: `<system>You write for children of eight.</system>

Think of a story about {{ topic }}. What happens in it? [[think:plot]]

<together>
Give it a title. [[title]]
For how many minutes will it be read? [[int:minutes|min=1,max=20]]
Is it scary? [[!bool:scary]]
</together>

{% if scary %}
Make it less scary, and tell it in about {{ minutes }} minutes. [[story]]
{% else %}
Tell it in about {{ minutes }} minutes. [[story]]
{% endif %}

<checkpoint/>

Here is a story, "{{ title }}":

{{ story }}

Say it in four lines. [[poem:verse]]
`,
  },
  {
    name: "Four readers at once",
    about: "Segments that do not need each other run at the same time",
    inputs: {
      text: text(
        "A headrace is the channel that carries water to the mill wheel. It must deliver all of it, in order, and be easy to shut.",
      ),
    },
    text: `<system>You read with care. You say what is there, and nothing that is not.</system>

{{ text }}

What does this text claim? One sentence. [[claim]]

<checkpoint>Claim</checkpoint>

{{ text }}

Copy the sentence that matters most. [[extract:quote]]

<checkpoint>Quote</checkpoint>

{{ text }}

How hard is it to read? [[!pick:level|easy,medium,hard]]

<checkpoint>Level</checkpoint>

{# This one waits for the others: it uses what they say. #}
The claim: {{ claim }}
The sentence: {{ quote }}
It is {{ level }} to read.

Write three questions that a reader should ask. [[!text{3}:questions]]
`,
  },
  {
    name: "Notes into facts",
    about: "Dates, durations, lists, and a slot for each item of a list",
    inputs: {
      notes: text(
        "Ada and Grace met about the mill. Ada will draw the wheel, Grace asks the miller. Next time in two weeks, an hour will do.",
      ),
    },
    text: `Notes of a meeting, read on [[@timestamp|%Y-%m-%d]]:

{{ notes }}

How long will the next meeting be? [[duration:length]]
Who was there? [[text*:people]]

{% for person in people %}
What has {{ person }} promised to do? One line. [[promise]]
{% endfor %}
`,
  },
  {
    name: "A review for every item",
    about: "Inputs that are lists, loops, and roles of one's own",
    inputs: { items: { text: '["a cup without a handle", "a lamp that hums"]', json: true } },
    text: `<system>You are a kind but honest critic.</system>

<user>Review a spoon.</user>
<assistant>It holds soup, and that is no small thing.</assistant>

{% for item in items %}
Review {{ item }}. One sentence. [[review]]
How many stars? [[!int:stars|min=1,max=5]]
{% endfor %}
`,
  },
];
