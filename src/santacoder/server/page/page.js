// The page of `santacoder serve`: code, a gap in it, and what the model writes there, by POST v1/completions.
// Addresses are relative, so that the page also works behind a proxy that puts a folder before them.

const $ = (id) => document.getElementById(id);
const GAP = "<FILL-HERE>";
const GAPS = /<FILL[-_]HERE>/;
const TOP = 5; // alternatives that are shown for each token
const DOUBTS = [0.8, 0.5, 0.2, 0.05]; // a token below the k-th of these probabilities has the shade k
const SOON = 250; // ms; events that come closer together say little of the speed: then reading the code counts, too
const NUMBERS = ["max_tokens", "temperature", "top_p", "repetition_penalty", "n"];
const EXAMPLES = {
  Python: 'def is_palindrome(text: str) -> bool:\n    """Say whether a text reads the same backwards, but for case and spaces."""\n',
  Java: "/** Counts how often each word occurs in a text. */\npublic static Map<String, Integer> countWords(String text) {\n",
  JavaScript: "// Returns the parameters of a query string as an object.\nfunction parseQuery(query) {\n",
  Infilling: `import os\n\n\ndef newest(folder):\n    """Return the path of the file in the folder that changed last."""\n    paths = [os.path.join(folder, name) for name in ${GAP}]\n    return max(paths, key=os.path.getmtime)\n`,
};

let key = ""; // in memory only
let run = null; // what is generated now, or was last and is still shown
let shown = 0; // the sample of it that is shown
let current = -1; // the token of it that is pointed out
let expected = null; // what the link that was opened says of its text

// Requests

function authorization() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function say(sentence) {
  $("error").hidden = !sentence;
  $("error").textContent = sentence && sentence[0].toUpperCase() + sentence.slice(1) + (/[.!?…]$/.test(sentence) ? "" : ".");
}

// Throws the server's sentence, or one of our own. A 401 brings up the field for the key.
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, ...authorization() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server cannot be reached: is it still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  if (response.status === 401) {
    $("ask").hidden = false;
    $("key").focus();
  }
  throw Object.assign(new Error(body?.error?.message ?? `the server answered with the status ${response.status}`), body?.error);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the answer broke off: the connection to the server was lost");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue; // a sign of life
      if (part === "data: [DONE]") return;
      const event = JSON.parse(part.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

function readForm() {
  const parts = $("code").value.split(GAPS);
  if (parts.length > 2) throw new Error(`the code has ${parts.length - 1} gaps, but one is the most`);
  const request = { prompt: parts[0] };
  if (parts.length === 2) request.suffix = parts[1];
  for (const name of NUMBERS) request[name] = Number($(name).value);
  const seed = $("seed").value;
  if (/\D/.test(seed)) throw new Error(`the seed is ${seed}, but it must be a whole number`);
  request.seed = seed ? String(BigInt(seed)) : undefined; // JSON has no leading zeros
  if ($("single_line").checked) Object.assign(request, parts.length === 2 ? { single_line: true } : { stop: ["\n"] });
  if ($("shade").value) request.logprobs = TOP;
  return request;
}

// A seed has up to 64 bits, more than a number of JavaScript: it is kept as its digits.
function toJSON(request) {
  return JSON.stringify(request).replace(`"seed":"${request.seed}"`, `"seed":${request.seed}`);
}

function toCurl(request) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl ${quoted(new URL("v1/completions", location.href).href)}`, "-H 'Content-Type: application/json'"];
  if (key) lines.push('-H "Authorization: Bearer $SANTACODER_API_KEY"');
  return [...lines, `-d ${quoted(toJSON(request))}`].join(" \\\n  ");
}

// Generating

async function generate() {
  say("");
  let request;
  try {
    request = readForm();
  } catch (error) {
    return say(error.message);
  }
  request.seed ??= String(crypto.getRandomValues(new Uint32Array(1))[0]);
  const focused = document.activeElement;
  const samples = Array.from({ length: request.n }, () => ({ chars: [], tokens: [], copies: [], finish: null, drawn: 0 }));
  const mine = { request, samples, code: $("code").value, stop: new AbortController(), state: "running", count: 0 };
  mine.start = performance.now();
  [run, shown, current] = [mine, Math.min(shown, request.n - 1), -1];
  show();
  if (focused === $("code")) $("result").focus({ preventScroll: true });
  speak("Generating");
  try {
    const body = toJSON({ ...request, stream: true, stream_options: { include_usage: true } });
    const headers = { "Content-Type": "application/json" };
    const response = await ask("v1/completions", { method: "POST", headers, body, signal: mine.stop.signal });
    for await (const event of events(response)) take(mine, event);
    mine.state = "done";
  } catch (error) {
    mine.state = error.name === "AbortError" ? "stopped" : "failed";
    if (mine === run && mine.state === "failed") say(error.message);
  }
  if (mine === run) finish();
}

function take(mine, event) {
  mine.fingerprint = event.system_fingerprint ?? mine.fingerprint;
  if (event.usage) mine.usage = event.usage;
  const choice = event.choices[0];
  if (!choice) return;
  const sample = mine.samples[choice.index];
  sample.chars.push(...choice.text); // characters, not UTF-16 units: offsets count these
  sample.finish = choice.finish_reason;
  sample.copies = (choice.attribution ?? []).filter((match) => !match.common);
  const { tokens = [], token_logprobs, top_logprobs, text_offset } = choice.logprobs ?? {};
  tokens.forEach((text, i) => sample.tokens.push({ text, logprob: token_logprobs[i], top: top_logprobs[i], at: text_offset[i] }));
  mine.count += mine.request.logprobs === undefined ? 1 : tokens.length;
  mine.last = performance.now();
  mine.first ??= [mine.last, mine.count];
  if (mine !== run) return;
  if (choice.index === shown) requestAnimationFrame(draw);
  if (choice.index === shown && choice.text.includes("\n")) speak(lastLine(sample));
  showStatus();
}

function finish() {
  show();
  const { state } = run;
  if (state === "failed" && !run.count) return edit($("ask").hidden);
  speak(`${state === "done" ? "Done" : "Stopped"}. ${$("status").textContent}`);
}

function lastLine(sample) {
  return sample.chars.join("").split("\n").at(-2);
}

function speak(text) {
  $("spoken").textContent = text;
}

// Showing

function show() {
  const running = run?.state === "running";
  document.body.classList.toggle("running", running);
  $("go").textContent = running ? "Stop" : "Generate";
  $("code").hidden = Boolean(run);
  $("result").hidden = !run;
  $("done").hidden = !run || running;
  $("gap").hidden = Boolean(run);
  $("result").className = $("shade").value;
  showStatus();
  listCopies();
  showCurl();
  if (!run) return;
  const { request, samples } = run;
  $("leaf").hidden = samples.length < 2;
  $("which").textContent = `Sample ${shown + 1} of ${samples.length}`;
  $("before").textContent = request.prompt;
  $("after").textContent = request.suffix ?? "";
  $("made").replaceChildren();
  samples[shown].drawn = 0;
  draw();
  point(-1);
}

function showStatus() {
  $("status").textContent = run ? describe() : "";
}

function describe() {
  const { state, samples, usage, start, first, last, count } = run;
  const tokens = usage?.completion_tokens ?? count;
  if (!tokens && state === "running") return "Reading the code…";
  const said = [`${tokens} ${tokens === 1 ? "token" : "tokens"}`];
  if (last > start) {
    const rate = 1000 * (last - first[0] < SOON ? tokens / (last - start) : (tokens - first[1]) / (last - first[0]));
    said.push(`${rate.toFixed(rate < 100 ? 1 : 0)} a second`);
  }
  if (state !== "running") said.push(`seed ${run.request.seed}`);
  const { finish, chars } = samples[shown];
  const ended = chars.length ? "ended by itself" : "ended at once, nothing to add";
  const reasons = { length: "ended at the limit", content_filter: "ended before it would be a copy" };
  if (state === "stopped") said.push("stopped");
  else if (finish) said.push((samples.length > 1 ? "this sample " : "") + (reasons[finish] ?? ended));
  if (state === "done" && expected) said.push(compare());
  return said.join(" · ");
}

// Puts the shown sample's text into place: tokens that are whole stay, what may still grow is drawn anew.
function draw() {
  if (!run) return;
  const { chars, tokens, copies, ...sample } = run.samples[shown];
  const made = $("made");
  const start = [...run.request.prompt].length;
  const from = (i) => Math.min(chars.length, Math.max(0, tokens[i].at - start));
  while (made.childNodes.length > sample.drawn) made.lastChild.remove();
  for (let i = sample.drawn; i < tokens.length; i++) {
    const last = i + 1 === tokens.length;
    const end = last ? chars.length : from(i + 1);
    if (!last && tokens[i + 1].at - start <= chars.length) run.samples[shown].drawn = i + 1;
    const span = document.createElement("span");
    const doubt = DOUBTS.findLastIndex((limit) => Math.exp(tokens[i].logprob) < limit) + 1;
    const begin = i ? from(i) : 0;
    span.className = `p${doubt}`;
    span.classList.toggle("copied", copies.some((copy) => copy.start < end && begin < copy.end));
    span.textContent = chars.slice(begin, end).join("");
    made.append(span);
  }
  if (!tokens.length) made.replaceChildren(...marked(chars, copies));
  if (run.state === "running") follow();
}

// The text as nodes: what is a copy is marked.
function marked(chars, copies) {
  const parts = [];
  let at = 0;
  for (const { start, end } of copies) {
    const begin = Math.max(at, start);
    if (begin >= end) continue;
    const mark = Object.assign(document.createElement("mark"), { textContent: chars.slice(begin, end).join("") });
    mark.className = "copied";
    parts.push(chars.slice(at, begin).join(""), mark);
    at = end;
  }
  return [...parts, chars.slice(at).join("")];
}

// Lists where the copies in the shown sample stand.
function listCopies() {
  const { chars, copies } = run?.samples[shown] ?? { copies: [] };
  $("copies").hidden = !copies.length;
  $("copies").replaceChildren(...copies.map((copy) => {
    const begin = chars.slice(Math.max(copy.start, 0), copy.end).join("").trim().split("\n")[0];
    const others = copy.files - copy.sources.length;
    const item = document.createElement("li");
    item.append(`${copy.lexemes} words and signs, with “${begin}”, stand in `, copy.sources.map(place).join("; "));
    if (others > 0) item.append(`; and ${others} more`);
    return item;
  }));
}

function place({ repository, revision, path, start_line, end_line, licence }) {
  const version = revision && `@${revision}`;
  const lines = start_line ? `, lines ${start_line} to ${end_line}` : "";
  return `${path} of ${repository}${version}${lines} (${licence === "NOASSERTION" ? "no licence named" : licence})`;
}

// Keeps the end of the new text in view.
function follow() {
  const [box, caret] = [$("result").getBoundingClientRect(), $("caret").getBoundingClientRect()];
  const below = caret.bottom + 32 - box.bottom;
  if (below > 0 || caret.top < box.top) $("result").scrollTop += below;
}

function leaf(step) {
  if (!run) return;
  shown = (shown + step + run.samples.length) % run.samples.length;
  current = -1;
  show();
  speak(`${$("which").textContent}: ${run.samples[shown].chars.join("")}`);
}

function visible(text) {
  return text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥");
}

function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share > 0 && share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
}

// Shows the probabilities of one token of the sample beside it, or of none.
function point(index) {
  const spans = $("made").children;
  spans[current]?.classList.remove("chosen");
  current = index;
  const box = $("token");
  box.hidden = !run?.samples[shown].tokens[index] || !spans[index];
  if (box.hidden) return;
  const { text, logprob, top } = run.samples[shown].tokens[index];
  const others = Object.entries({ ...top, [text]: logprob }).sort((a, b) => b[1] - a[1]);
  const rows = others.map(([other, value]) => {
    const row = document.createElement("tr");
    const meter = Object.assign(document.createElement("meter"), { value: Math.exp(value) });
    meter.setAttribute("aria-hidden", "true");
    for (const cell of [visible(other), percent(value), meter]) {
      const place = document.createElement("td");
      place.append(cell);
      row.append(place);
    }
    row.classList.toggle("taken", other === text);
    return row;
  });
  const table = document.createElement("table");
  table.append(...rows);
  const note = Object.assign(document.createElement("p"), { textContent: `log-probability ${logprob.toFixed(4)}` });
  box.replaceChildren(table, note);
  spans[index].classList.add("chosen");
  const [mark, size] = [spans[index].getClientRects()[0], box.getBoundingClientRect()];
  if (!mark) return;
  const room = document.documentElement.clientWidth - size.width - 8;
  box.style.left = `${Math.max(8, Math.min(mark.left, room))}px`;
  box.style.top = `${mark.bottom + size.height + 8 > innerHeight ? mark.top - size.height - 6 : mark.bottom + 6}px`;
}

// Points to the next token in a direction that has text of its own.
function step(direction) {
  const spans = $("made").children;
  let index = current < 0 && direction < 0 ? spans.length : current;
  do index += direction;
  while (spans[index] && !spans[index].textContent);
  if (!spans[index] || !run.samples[shown].tokens[index]) return;
  spans[index].scrollIntoView({ block: "nearest" });
  point(index);
  const { text, logprob } = run.samples[shown].tokens[index];
  speak(`${visible(text)}, ${percent(logprob)}`);
}

// Editing

function edit(focus = true) {
  if (!run) return;
  run.stop.abort();
  const at = run.request.prompt.length;
  run = null;
  show();
  if (!focus) return;
  $("code").focus();
  $("code").setSelectionRange(at, at + ($("code").value.slice(at).match(GAPS)?.[0].length ?? 0));
}

function write(text, start, end) {
  $("code").focus();
  $("code").setSelectionRange(start, end);
  // The one call that the browser can undo.
  if (!document.execCommand("insertText", false, text)) $("code").setRangeText(text, start, end, "end");
}

function keep() {
  const { request, samples } = run;
  const made = samples[shown].chars.join("");
  edit();
  write(request.prompt + made + (request.suffix ?? ""), 0, $("code").value.length);
  const at = request.prompt.length + made.length;
  $("code").setSelectionRange(at, at);
  forget();
}

function markGap() {
  if (run) return;
  const { value, selectionStart, selectionEnd } = $("code");
  const old = value.match(GAPS);
  if (!old) return write(GAP, selectionStart, selectionEnd);
  $("code").focus();
  $("code").setSelectionRange(old.index, old.index + old[0].length);
}

async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
    field.select(); // without https, and elsewhere than on this machine, this is the way
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.textContent = "Copied";
  speak("Copied");
  setTimeout(() => (button.textContent = label), 1500);
}

// Links: the fragment, which browsers do not send, holds the code, all settings, and what is to come out.

// FNV-1a with 64 bits, in hexadecimal, of the samples' texts in UTF-8. Not crypto.subtle: that needs https.
function digest(samples) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(samples.map((sample) => sample.chars.join("")).join("\0"))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash.toString(16).padStart(16, "0");
}

function toLink({ request, code, samples, state, fingerprint }) {
  const fields = new URLSearchParams({ code });
  for (const name of [...NUMBERS, "seed"]) fields.set(name, request[name]);
  if (request.single_line || request.stop) fields.set("single_line", "1");
  if (shown) fields.set("sample", shown);
  if (fingerprint) fields.set("model", fingerprint);
  if (state === "done") fields.set("text", digest(samples));
  return `${new URL("./", location.href).href}#${fields}`;
}

function openLink() {
  const fields = new URLSearchParams(location.hash.slice(1));
  if (!fields.has("code")) return false;
  edit();
  $("code").value = fields.get("code");
  for (const name of [...NUMBERS, "seed"]) $(name).value = fields.get(name) ?? $(name).defaultValue;
  $("single_line").checked = fields.has("single_line");
  shown = Math.max(0, Math.trunc(Number(fields.get("sample"))) || 0);
  syncSliders();
  expected = { model: fields.get("model"), text: fields.get("text"), state: stateOfForm() };
  $("status").textContent = "From a link: generate to get its text";
  showCurl();
  return true;
}

function stateOfForm() {
  return JSON.stringify([$("code").value, $("single_line").checked, ...[...NUMBERS, "seed"].map((name) => $(name).value)]);
}

function compare() {
  if (!expected.text) return "from the link";
  if (digest(run.samples) === expected.text) return "to the byte the text of the link";
  return expected.model === run.fingerprint ? "not the text of the link" : "not the text of the link, which came from another model";
}

// A link describes a text only as long as nothing is changed.
function forget() {
  if (expected && stateOfForm() !== expected.state) expected = null;
  if (!expected && location.hash) history.replaceState(null, "", location.pathname);
}

// The form

function syncSliders() {
  for (const slider of document.querySelectorAll("[data-for]")) slider.value = $(slider.dataset.for).value;
}

function showCurl() {
  try {
    $("curl").textContent = toCurl(run?.request ?? readForm());
  } catch (error) {
    $("curl").textContent = `# ${error.message}`;
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (run?.state === "running") run.stop.abort();
  else generate();
});
$("go").addEventListener("click", (event) => {
  if (event.detail > 1) event.preventDefault(); // the second click of two would stop at once
});
$("form").addEventListener("input", (event) => {
  const slider = event.target.dataset?.for;
  if (slider) $(slider).value = event.target.value;
  syncSliders();
  forget();
  if (!run) showStatus();
  $("result").className = $("shade").value;
  showCurl();
});
$("defaults").addEventListener("click", () => {
  for (const name of [...NUMBERS, "seed"]) $(name).value = $(name).defaultValue;
  $("single_line").checked = false;
  $("shade").value = "hover";
  $("form").dispatchEvent(new Event("input"));
});
for (const [name, code] of Object.entries(EXAMPLES)) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  button.addEventListener("click", () => {
    edit();
    write(code, 0, $("code").value.length);
    const at = Math.max(0, code.indexOf(GAP));
    $("code").setSelectionRange(at || code.length, at ? at + GAP.length : code.length);
    forget();
  });
  $("examples").append(button);
}
$("gap").addEventListener("click", markGap);
$("edit").addEventListener("click", () => edit());
$("keep").addEventListener("click", keep);
$("previous").addEventListener("click", () => leaf(-1));
$("next").addEventListener("click", () => leaf(1));
$("copy").addEventListener("click", () => copy($("copy"), $("result").textContent));
$("link").addEventListener("click", () => copy($("link"), toLink(run)));
$("copy-curl").addEventListener("click", () => copy($("copy-curl"), $("curl").textContent));
$("result").addEventListener("pointerover", (event) => point([...$("made").children].indexOf(event.target)));
$("result").addEventListener("pointerleave", () => point(-1));
$("result").addEventListener("blur", () => point(-1));
$("result").addEventListener("scroll", () => point(current));
$("result").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const action = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), n: () => leaf(1), p: () => leaf(-1) }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey;
  if (event.key === "Escape" && run) {
    if (run.state === "running") run.stop.abort();
    else edit();
  } else if (command && event.key === "Enter") {
    if (run?.state !== "running") $("form").requestSubmit();
  } else if (command && event.key === "g") {
    markGap();
  } else return;
  event.preventDefault();
});
window.addEventListener("hashchange", openLink);

// The model

async function untilLoaded() {
  for (;;) {
    try {
      return await ask("health");
    } catch (error) {
      if (error.code !== "loading") throw error;
      $("model").textContent = "The model is being loaded…";
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

function size(parameters) {
  const [value, unit] = parameters < 1e9 ? [parameters / 1e6, "million"] : [parameters / 1e9, "billion"];
  return `${value.toPrecision(3).replace(/\.?0+$/, "")} ${unit} parameters`;
}

// The form begins with what the server takes where a request does not say; a link says.
function takeDefaults(params) {
  const link = new URLSearchParams(location.hash.slice(1));
  const values = { temperature: params.temperature, top_p: params.top_p, repetition_penalty: params.repeat_penalty };
  for (const [name, value] of Object.entries(values)) {
    const input = $(name);
    const untouched = input.value === input.defaultValue && !link.has(name);
    input.defaultValue = Math.min(value, input.max);
    if (untouched) input.value = input.defaultValue;
  }
  syncSliders();
  showCurl();
}

async function introduce() {
  try {
    await untilLoaded();
    const [models, props] = await Promise.all(["v1/models", "props"].map(async (path) => (await ask(path)).json()));
    const { id, meta } = models.data[0];
    const { n_ctx: context, params } = props.default_generation_settings;
    takeDefaults(params);
    $("model").textContent = [id, size(meta.n_params), meta.license ? `license ${meta.license}` : "its file names no license"].join(" · ");
    const index = props.attribution ? ` New text is compared with ${props.attribution.files} files; what is a copy is underlined.` : "";
    $("limits").textContent = `Code and new text together have ${context} tokens at most.${index}`;
    document.title = `${id} - santacoder`;
    say("");
  } catch (error) {
    $("model").textContent = "";
    if (error.code === "invalid_api_key" && !key) return; // the field for it says enough
    say(error.message);
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value;
  $("key").value = "";
  $("ask").hidden = true;
  $("code").focus();
  showCurl();
  introduce();
});

if (!openLink()) $("code").value = EXAMPLES.Python;
syncSliders();
showCurl();
introduce();
