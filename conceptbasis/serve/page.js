"use strict";
const MOST = 3; // latents under a token; the others are counted
const known = JSON.parse(document.getElementById("known").textContent);
const token = new URLSearchParams(location.search).get("token") ?? "";
const [form, prompt, longest, strength, layer, stop, warning] = [
  "ask", "prompt", "longest", "strength", "layer", "stop", "warning",
].map((id) => document.getElementById(id));
const panels = [...document.querySelectorAll(".panel")];
let asked = null; // the last question
let running = null; // what aborts the answers that are being written

const make = (tag, name, text) => {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text; // never as HTML: tokens may hold anything
  return made;
};
const part = (panel, name) => panel.querySelector(`.${name}`);

const say = (panel, text, failed = false) => {
  const state = part(panel, "state");
  state.textContent = text;
  state.classList.toggle("failed", failed);
};

const clear = (panel) => {
  panel.tokens = [];
  part(panel, "answer").textContent = "";
  for (const list of panel.querySelectorAll(".tokens")) list.replaceChildren();
};

const addPiece = (panel, { at, part: where, text }) => {
  const shown = make("span", "token", "");
  shown.append(make("span", "text", text.replaceAll("\n", "⏎") || "·"));
  panel.tokens[at] = { shown, fires: [] };
  const list = panel.querySelector(where === "answer" ? ".tokens" : ".tokens.request");
  list.append(shown);
  if (where === "answer") part(panel, "answer").textContent += text;
};

const nameOf = (side, [where, latent]) => known[side]?.[where]?.[latent] ?? {};

const showFires = (panel, entry) => {
  const side = panel.dataset.side;
  const [wantedSide, wantedLayer] = layer.value.split(":");
  const here = entry.fires.filter(
    ([where]) => !wantedLayer || (wantedSide === side && String(where) === wantedLayer),
  );
  for (const old of entry.shown.querySelectorAll(".fire, .more")) old.remove();
  for (const fire of here.slice(0, MOST)) {
    const [where, latent, activation] = fire;
    const { label, note, coefficient, peak } = nameOf(side, fire);
    const text = `${latent} ${label ?? ""}`.trim();
    const chip = make("span", `fire${coefficient < 0 ? " less" : ""}`, `${text} ${activation.toFixed(1)}`);
    const highest = peak ? `, highest in the evidence ${peak.toFixed(1)}` : "";
    chip.title = `${side} layer ${where}, latent ${text}${note ? ` ${note}` : ""}, coefficient ${coefficient?.toFixed(2)}, ` +
      `activation ${activation.toFixed(2)}${highest}`;
    entry.shown.append(chip);
  }
  if (here.length > MOST) entry.shown.append(make("span", "more", `and ${here.length - MOST} more`));
};

const addPlace = (panel, { at, fires, sinks }) => {
  const entry = panel.tokens[at];
  if (!entry) return;
  entry.fires = fires;
  entry.shown.classList.toggle("sink", sinks.length > 0);
  if (sinks.length) entry.shown.title = `an attention sink at layers ${sinks.join(", ")}: SAEs are not made for it`;
  showFires(panel, entry);
};

const ENDS = { ended: "ended", length: "cut at the longest answer", stopped: "stopped" };
const finish = (panel, { why, text, tokens, edited }) => {
  if (why === "stopped") return say(panel, "stopped");
  part(panel, "answer").textContent = text;
  say(panel, `${ENDS[why]}; ${tokens} tokens; ${edited ? `edited: ${edited}` : "untouched"}`);
};

const fail = (panel, { what, expected, fix }) =>
  say(panel, [what, expected && `expected: ${expected}`, fix && `to fix: ${fix}`].filter(Boolean).join("\n"), true);

const take = (panel, event) => {
  if (event.state) say(panel, event.state);
  if (event.warning) [warning.hidden, warning.textContent] = [false, event.warning];
  if (event.piece) addPiece(panel, event.piece);
  if (event.place) addPlace(panel, event.place);
  if (event.end) finish(panel, event.end);
  if (event.error) fail(panel, event.error);
};

const post = (path, body, signal) =>
  fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Token": token },
    body: JSON.stringify(body),
    signal,
  });

const hear = async (panel, question, signal) => {
  const response = await post("/ask", question, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let last = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) take(panel, (last = JSON.parse(line)));
  }
  if (!last.end && !last.error) say(panel, "the answer broke off: look at the terminal", true);
};

const cancel = async () => {
  if (!running) return;
  running.abort();
  running = null;
  await post("/stop", {}).catch(() => {});
};

const ask = async (chosen) => {
  await cancel();
  const mine = (running = new AbortController());
  const amount = Number(strength.value);
  stop.disabled = false;
  for (const panel of chosen) clear(panel), say(panel, "waiting for its turn");
  for (const panel of chosen) {
    const { side, edited } = panel.dataset;
    const question = { ...asked, side, strength: edited === "yes" ? amount : 0 };
    try {
      await hear(panel, question, mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) say(panel, `no answer: ${error.message}. Is the command still running?`, true);
    }
    if (mine.signal.aborted) break;
  }
  if (running === mine) [running, stop.disabled] = [null, true];
};

const chosen = (edited) => {
  const sides = [...form.querySelectorAll("[name=side]:checked")].map((box) => box.value);
  return panels.filter(
    (panel) => sides.includes(panel.dataset.side) && (!edited || panel.dataset.edited === "yes"),
  );
};

form.addEventListener("submit", (event) => {
  event.preventDefault();
  asked = { prompt: prompt.value, max_new_tokens: Number(longest.value) };
  warning.hidden = true;
  ask(chosen(false));
});
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
stop.addEventListener("click", async () => {
  const unfinished = panels.filter((panel) => /^(waiting|writing|opening)/.test(part(panel, "state").textContent));
  await cancel();
  stop.disabled = true;
  for (const panel of unfinished) say(panel, "stopped");
});
strength.addEventListener("input", () => {
  document.getElementById("strength-value").value = Number(strength.value).toFixed(2);
});
strength.addEventListener("change", () => {
  if (asked) ask(chosen(true));
});
for (const [side, layers] of Object.entries(known))
  for (const number of Object.keys(layers)) {
    const option = make("option", "", `${side} layer ${number}`);
    option.value = `${side}:${number}`;
    layer.append(option);
  }
layer.addEventListener("change", () => {
  for (const panel of panels) for (const entry of panel.tokens ?? []) showFires(panel, entry);
});
