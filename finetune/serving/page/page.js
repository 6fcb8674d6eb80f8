// Asks GET /info what is served, builds the form of that task, sends it to POST /predict and shows the answer.

import { taskOf, element } from "./tasks.js";

const at = (id) => document.getElementById(id);
const TOKEN = "ernie-token";
let info = null, task = null, running = 0;

function showError(message) {
  at("error").textContent = message;
  at("error").hidden = !message;
  if (message) at("error").scrollIntoView({ block: "nearest" });
}

class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, payload) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (payload) headers["Content-Type"] = "application/json";
  const options = { headers, ...(payload && { method: "POST", body: JSON.stringify(payload) }) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ServerError("The server does not answer. Is it still running?", 0);
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  const told = body?.error;
  const what = told?.message || `The server answered ${response.status}.`;
  throw new ServerError(told?.request_id ? `${what}\nRequest ${told.request_id}` : what, response.status);
}

function buildField({ name, label, hint, rows, required }) {
  const box = element("textarea", { id: name, name, rows, ...(required && { required: "" }) });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
  });
  const caption = element("label", { for: name }, label);
  if (hint) caption.append(" ", element("span", { class: "hint" }, hint));
  return element("div", {}, caption, box);
}

function buildPooling() {
  const names = {
    cls: "pooled [CLS]", mean: "mean of the tokens", max: "maximum of the tokens", first: "state of [CLS]",
    first_last: "mean of the first and the last layer", whitened: "whitened",
  };
  const choice = element("select", { id: "pooling", name: "pooling" });
  for (const name of info.poolings) {
    const option = element("option", { value: name }, names[name] || name);
    option.selected = name === info.pooling;
    choice.append(option);
  }
  return element("div", {}, element("label", { for: "pooling" }, "Vector of a text"), choice);
}

function buildExamples() {
  for (const example of task.examples) {
    const shown = Object.values(example).map((text) => text.split("\n")[0]).join("  ·  ");
    const button = element("button", { type: "button", title: Object.values(example).join("\n") }, shown);
    button.addEventListener("click", () => {
      for (const { name } of task.fields) at(name).value = example[name] || "";
      at("form").requestSubmit();
    });
    at("examples").append(element("li", {}, button));
  }
}

function buildFacts() {
  const labels = info.labels || [];
  const facts = [info.task];
  if (info.entity_types) facts.push(`entities: ${info.entity_types.join(", ")}`);
  else if (labels.length) facts.push(`${labels.length} labels: ${labels.slice(0, 8).join(", ")}${labels.length > 8 ? ", …" : ""}`);
  if (info.search) facts.push(`${info.search.rows} texts`);
  if (info.max_seq_len) facts.push(`reads ${info.max_seq_len} tokens at once`);
  at("facts").replaceChildren(...facts.map((fact) => element("li", {}, fact)));
}

function build() {
  task = taskOf(info);
  document.title = `${task.title} · ERNIE`;
  at("title").textContent = task.title;
  at("about").textContent = task.about;
  buildFacts();
  at("fields").replaceChildren(...task.fields.map(buildField));
  if (info.poolings?.length > 1 && !info.search) at("fields").append(buildPooling());
  buildExamples();
  at("examples-title").hidden = !task.examples.length;
  at("main").hidden = false;
}

function values() {
  return Object.fromEntries(new FormData(at("form")));
}

function showRequest(payload, answer) {
  const body = JSON.stringify(payload).replaceAll("'", "'\\''");
  const token = sessionStorage.getItem(TOKEN) ? ` -H "Authorization: Bearer $ERNIE_TOKEN"` : "";
  at("curl").textContent = `curl ${location.origin}/predict -H 'Content-Type: application/json'${token} -d '${body}'`;
  at("json").textContent = JSON.stringify(answer, null, 1);
  at("request").hidden = false;
}

async function predict(event) {
  event.preventDefault();
  const given = values();
  const missing = task.fields.find(({ name, required }) => required && !given[name].trim());
  if (missing) {
    showError(`${missing.label}: give a text.`);
    at(missing.name).focus();
    return;
  }
  const number = ++running, payload = task.payload(given), began = performance.now();
  showError("");
  at("send").disabled = true;
  at("answer").setAttribute("aria-busy", "true");
  try {
    const answer = await ask("/predict", payload);
    if (number !== running) return;
    at("answer").replaceChildren(...task.show(answer, given, info));
    at("time").textContent = `${Math.round(performance.now() - began)} ms`;
    showRequest(payload, answer);
  } catch (error) {
    if (number === running) fail(error);
  } finally {
    if (number === running) {
      at("send").disabled = false;
      at("answer").removeAttribute("aria-busy");
    }
  }
}

function fail(error) {
  showError(error.message);
  at("time").textContent = "";
  at("answer").replaceChildren(element("p", { class: "hint" }, "There is no answer to this text."));
  at("request").hidden = true;
  if (error.status === 401) at("token-form").hidden = false;
}

async function begin() {
  try {
    info = await ask("/info");
    info = info.model || info;
    at("token-form").hidden = true;
    showError("");
    build();
  } catch (error) {
    if (error.status === 401) {
      at("token-form").hidden = false;
      at("about").textContent = "The server wants to know you.";
      if (sessionStorage.getItem(TOKEN)) showError(error.message);
    } else {
      showError(error.message);
    }
  }
}

at("form").addEventListener("submit", predict);
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value);
  if (task) {
    at("token-form").hidden = true;
    showError("");
  } else {
    begin();
  }
});
begin();
