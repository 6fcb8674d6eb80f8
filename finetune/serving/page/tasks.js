// What each task asks for and how its answer is shown. Texts only ever become text nodes, never markup.

import { askedFor, chosenFor, comparedFor, scoredFor, taggedFor, textsFor } from "./examples.js";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const MANY = 10;

function bar(name, share, shown, best) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element("span", { class: best ? "bar best" : "bar" },
    element("span", { class: "bar-head" }, element("span", {}, name), element("span", { class: "number" }, shown)),
    element("span", { class: "track", "aria-hidden": "true" }, fill));
}

function bars(entries) {
  return element("ul", { class: "bars" },
    ...entries.map(([name, share, shown], at) => element("li", {}, bar(name, share, shown, at === 0))));
}

function cutNotice(cut) {
  return cut ? [element("p", { class: "notice" }, "The text is longer than the model reads: its end was left out.")] : [];
}

// Places count characters as Python does, so a text is taken apart by code points, not by JavaScript's UTF-16 units.
function marked(text, spans) {
  const characters = Array.from(text), parts = [];
  let at = 0;
  for (const { start, end, make } of spans) {
    parts.push(characters.slice(at, start).join(""), make(characters.slice(start, end).join("")));
    at = end;
  }
  parts.push(characters.slice(at).join(""));
  return element("p", { class: "passage" }, ...parts);
}

function showLabels({ predictions: [found] }) {
  const entries = Object.entries(found.probabilities).sort((one, other) => other[1] - one[1])
    .map(([label, share]) => [label, share, percent(share)]);
  const rest = entries.slice(MANY);
  const more = rest.length
    ? [element("details", {}, element("summary", {}, `${rest.length} more labels`), bars(rest))] : [];
  return [
    element("p", { class: "verdict" }, found.label, element("small", {}, percent(found.probabilities[found.label]))),
    bars(entries.slice(0, MANY)), ...more, ...cutNotice(found.truncated),
  ];
}

function showLabelSet({ predictions: [found] }) {
  const entries = Object.entries(found.probabilities).sort((one, other) => other[1] - one[1]);
  const chosen = entries.filter(([label]) => found.labels.includes(label)).map(([label]) => label);
  const shown = entries.map(([label, share]) => element("li", {}, bar(label, share, percent(share), chosen.includes(label))));
  const rest = shown.splice(Math.max(MANY, chosen.length));
  const more = rest.length
    ? [element("details", {}, element("summary", {}, `${rest.length} more labels`), element("ul", { class: "bars" }, ...rest))] : [];
  return [
    element("p", { class: "verdict" }, chosen.join(", ") || "No label"),
    element("ul", { class: "bars" }, ...shown), ...more, ...cutNotice(found.truncated),
  ];
}

function showScore({ predictions: [found] }) {
  return [element("p", { class: "verdict" }, found.score.toFixed(3)), ...cutNotice(found.truncated)];
}

function showEntities({ predictions: [found] }, values, info) {
  const types = info.entity_types || [];
  const kind = (type) => Math.max(types.indexOf(type), 0) % 8;
  const spans = found.entities.map(({ start, end, type }) => ({
    start, end,
    make: (text) => element("mark", { class: `type-${kind(type)}` }, text, element("span", { class: "kind" }, type)),
  }));
  const rows = found.tokens.map((token) => element("tr", {},
    element("td", {}, token.text), element("td", {}, token.tag),
    element("td", { class: "number" }, percent(token.probability))));
  const head = element("tr", {}, element("th", { scope: "col" }, "Token"), element("th", { scope: "col" }, "Tag"),
    element("th", { scope: "col", class: "number" }, "Probability"));
  const count = found.entities.length;
  return [
    element("p", { class: "verdict" }, count === 1 ? "1 entity" : `${count || "No"} entities`),
    marked(values.text, spans),
    element("details", {}, element("summary", {}, "Tag of every token"),
      element("div", { class: "scroll", tabindex: "0" },
        element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)))),
  ];
}

function showAnswer({ predictions: [found] }, values) {
  const none = found.answer === null;
  if (none && !found.nbest.length) return [element("p", { class: "verdict" }, "No part of the text could be the answer.")];
  const passage = element("div");
  const choices = element("ol", { class: "bars", "aria-label": "Other answers" });
  const mark = (span) => passage.replaceChildren(
    marked(values.context, span ? [{ ...span, make: (text) => element("mark", {}, text) }] : []));
  found.nbest.slice(0, 5).forEach((span, at) => {
    const button = element("button", { type: "button", class: "choice", "aria-pressed": String(at === 0 && !none) },
      bar(span.text, span.probability, percent(span.probability), at === 0 && !none));
    button.addEventListener("click", () => {
      for (const other of choices.querySelectorAll("button")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      mark(span);
    });
    choices.append(element("li", {}, button));
  });
  mark(none ? null : found.nbest[0]);
  return [
    element("p", { class: "verdict" }, none ? "The text has no answer." : found.answer, element("small", {}, percent(found.probability))),
    passage, element("h3", {}, "Best answers, shares among them"), choices,
  ];
}

function showChoice({ predictions: [found] }, values) {
  const entries = lines(values.choices).map((line, at) => [line, found.probabilities[at], percent(found.probabilities[at])])
    .sort((one, other) => other[1] - one[1]);
  return [
    element("p", { class: "verdict" }, found.choice, element("small", {}, entries[0][2])),
    bars(entries), ...cutNotice(found.truncated),
  ];
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

function showSimilarity(answer, values) {
  const entries = lines(values.other).map((line, at) => [line, answer.similarity[at], answer.similarity[at].toFixed(3)])
    .sort((one, other) => other[1] - one[1]);
  const verdict = entries.length === 1
    ? [element("p", { class: "verdict" }, entries[0][2], element("small", {}, "cosine similarity"))] : [];
  return [...verdict, bars(entries), ...cutNotice(answer.truncated.some(Boolean))];
}

// One text, or two for a model of pairs; a model that does not say may be either.
function textFields({ pairs }) {
  const text = { name: "text", label: "Text", rows: 4, required: true };
  if (pairs === false) return [text];
  return [text, { name: "other", label: "Second text", ...(pairs ? {} : { hint: "only if the model compares two texts" }), rows: pairs ? 4 : 2 }];
}
const textPayload = ({ text, other }) => ({ texts: [other?.trim() ? [text, other] : text] });
const ofTexts = { fields: textFields, payload: textPayload, examples: textsFor };
const ofTags = {
  fields: () => [{ name: "text", label: "Text", rows: 6, required: true }],
  payload: ({ text }) => ({ texts: [text] }), show: showEntities, examples: taggedFor,
};

function showResults({ results: [found], truncated: [cut] }) {
  if (!found.length) return [element("p", { class: "verdict" }, "Nothing was found.")];
  const entries = found.map(({ text, score }) => [text, score, score.toFixed(3)]);
  return [bars(entries), ...cutNotice(cut)];
}

const SEARCH = {
  title: "Semantic search",
  about: "The texts that mean nearly what you ask for, by the cosine of their vectors.",
  fields: [{ name: "text", label: "Search for", rows: 2, required: true }],
  payload: ({ text }) => ({ search: text }), show: showResults, examples: [],
};

// For a task without an entry of its own: probabilities as bars, every other part of the prediction in a table.
function showPrediction({ predictions: [found] }) {
  const { probabilities, truncated, ...rest } = found;
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const rows = Object.entries(rest).map(([name, value]) => element("tr", {},
    element("th", { scope: "row" }, name), element("td", {}, shown(value))));
  const table = element("div", { class: "scroll", tabindex: "0" }, element("table", {}, element("tbody", {}, ...rows)));
  const entries = Object.entries(probabilities || {}).sort((one, other) => other[1] - one[1])
    .map(([label, share]) => [label, share, percent(share)]);
  return [table, ...(entries.length ? [bars(entries)] : []), ...cutNotice(truncated)];
}

export function taskOf(info) {
  if (info.search) return SEARCH;
  const name = info.task.replaceAll("_", " ");
  const known = TASKS[info.task] || {
    title: name[0].toUpperCase() + name.slice(1), about: info.about || "", ...ofTexts, show: showPrediction, examples: () => [],
  };
  return { ...known, fields: known.fields(info), examples: known.examples(info) };
}

const comparedFields = () => [
  { name: "text", label: "Text", rows: 2, required: true },
  { name: "other", label: "Compared with", hint: "one text per line", rows: 5, required: true },
];

const TASKS = {
  classify: {
    title: "Text classification",
    about: "The label of a text or of a pair of texts, and how probable each label is.",
    ...ofTexts, show: showLabels,
  },
  prompt: {
    title: "Text classification by a word",
    about: "The label whose word fits best where the text's template has a blank.",
    ...ofTexts, show: showLabels,
  },
  multi_label_classification: {
    title: "Labels of a text",
    about: "All labels that a text or a pair of texts has, and how probable each one is.",
    ...ofTexts, show: showLabelSet,
  },
  student: {
    title: "Text classification by a student",
    about: "The label of a text or of a pair of texts, from a small network that learnt from a larger one.",
    ...ofTexts, show: showLabels,
  },
  regression: {
    title: "Scoring",
    about: "A number for a text or for a pair of texts, such as how alike they are.",
    ...ofTexts, show: showScore, examples: scoredFor,
  },
  student_regression: {
    title: "Scoring by a student",
    about: "A number for a text or for a pair of texts, from a small network that learnt from a larger one.",
    ...ofTexts, show: showScore, examples: scoredFor,
  },
  student_sequence_label: {
    title: "Entities in a text, by a student",
    about: "Names and other entities, highlighted where they stand, from a small network.",
    ...ofTags,
  },
  sequence_label: {
    title: "Entities in a text",
    about: "Names and other entities, highlighted where they stand.",
    ...ofTags,
  },
  sequence_label_crf: {
    title: "Entities in a text, chosen together",
    about: "Names and other entities, highlighted where they stand; the tags of a sentence are chosen together.",
    ...ofTags,
  },
  multiple_choice: {
    title: "Multiple choice",
    about: "The likeliest of several options, and how probable each one is.",
    fields: () => [
      { name: "text", label: "Text", rows: 4, required: true },
      { name: "other", label: "Question", hint: "if the model was trained with one", rows: 1 },
      { name: "choices", label: "Options", hint: "one per line, two or more", rows: 4, required: true },
    ],
    payload: ({ text, other, choices }) => ({ text_a: text, ...(other.trim() && { text_b: other }), choices: lines(choices) }),
    show: showChoice, examples: chosenFor,
  },
  mrc: {
    title: "Reading comprehension",
    about: "The answer to a question, found in a text.",
    fields: () => [
      { name: "question", label: "Question", rows: 1, required: true },
      { name: "context", label: "Text that holds the answer", rows: 9, required: true },
    ],
    payload: ({ question, context }) => ({ question, context }), show: showAnswer, examples: askedFor,
  },
  sentence_vectors: {
    title: "Similarity of texts, by trained vectors",
    about: "How close two texts are: the cosine of their vectors.",
    fields: comparedFields,
    payload: ({ text, other }) => ({ pairs: lines(other).map((line) => [text, line]) }),
    show: showSimilarity, examples: comparedFor,
  },
  embed: {
    title: "Similarity of texts",
    about: "How close two texts are: the cosine of their vectors.",
    fields: comparedFields,
    payload: ({ text, other, pooling }) => ({ pairs: lines(other).map((line) => [text, line]), ...(pooling && { pooling }) }),
    show: showSimilarity, examples: comparedFor,
  },
};
