"use strict";
const answers = JSON.parse(document.getElementById("answers").textContent);
const $ = (id) => document.getElementById(id);
const KEYS = { mask_types: "qwertyui", poses: "asdfghjk" };
const RETRY_MS = 2000;
const chosen = { mask_types: "", poses: "" };
let state = null, busy = false, ready = false, loaded = false, shownAt = 0, hiddenFor = 0, hiddenAt = 0;

function say(text) {
  $("message").hidden = !text;
  $("message").textContent = text;
}

function button(text, key, act, parent) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(text);
  const shown = document.createElement("kbd");
  shown.textContent = key;
  made.append(shown);
  made.addEventListener("click", () => { act(); made.blur(); });
  parent.append(made);
  return made;
}

function choose(kind, value) {
  chosen[kind] = chosen[kind] === value ? "" : value;
  press(kind);
}

function press(kind) {
  for (const one of $(kind).querySelectorAll("button"))
    one.setAttribute("aria-pressed", String(one.dataset.value === chosen[kind]));
}

const keys = new Map();
for (const kind of ["mask_types", "poses"]) {
  $(kind).hidden = !answers[kind].length;
  answers[kind].forEach((value, at) => {
    const key = KEYS[kind][at];
    const made = button(value, key, () => choose(kind, value), $(kind));
    made.dataset.value = value;
    keys.set(key, made);
  });
  press(kind);
}
answers.classes.forEach((value, at) => {
  const made = button(value, String(at + 1), () => label(value), $("classes"));
  made.dataset.label = value;
  keys.set(String(at + 1), made);
});
for (const [text, key, act] of [
  ["can't tell", "0", () => label(answers.cant_tell)],
  ["not a face", "x", () => label(answers.not_a_face)],
  ["undo", "←", undo], ["skip", "→", () => label(answers.skip)]]) {
  const made = button(text, key, act, $("others"));
  made.id = text.replace(/\W/g, "");
  keys.set({ "←": "ArrowLeft", "→": "ArrowRight" }[key] || key, made);
}

async function post(path, body) {
  for (;;) {
    let response;
    try {
      response = await fetch(path, {
        method: "POST", body: JSON.stringify(body),
        headers: { "content-type": "application/json", "x-token": answers.token } });
    } catch {
      say("No connection to the server: the last answer is sent again until it is saved. If the " +
          "server has ended, start it again.");
      await new Promise((done) => setTimeout(done, RETRY_MS));
      continue;
    }
    if (response.status === 403) {
      say("The server was started again: open the address that it printed. Saved labels are kept; " +
          "the one on this page is not saved.");
      return null;
    }
    let content = {};
    try { content = await response.json(); } catch { content = { error: `refused (${response.status})` }; }
    if (response.ok) { say(""); return content; }
    if (response.status === 409) {
      const now = await post("state", { annotator: body.annotator });
      say("Labelled in another tab, or saved before the connection broke: this is the current picture.");
      return now;
    }
    say(content.error || `refused (${response.status})`);
    return null;
  }
}

async function act(path, body) {
  if (busy || !state) return;
  busy = true;
  document.body.classList.add("busy");
  try {
    const now = await post(path, { annotator: state.annotator, revision: state.revision, ...body });
    if (now) show(now);
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

function label(value) {
  if (!state || !state.picture || !ready) return;  // nobody labels a picture before it shows
  const away = hiddenFor + (document.hidden ? performance.now() - hiddenAt : 0);
  act("label", {
    picture: state.picture, label: value, mask_type: chosen.mask_types, pose: chosen.poses,
    tags: $("tags").value.split(",").map((one) => one.trim()).filter(Boolean), box: faceBox(),
    seconds: Math.max(performance.now() - shownAt - away, 0) / 1000 });
}

function undo() { if (state && state.can_undo) act("undo", {}); }

function address(picture, kind = "picture") { return `${kind}/${picture}?token=${encodeURIComponent(answers.token)}`; }

function show(now) {
  const image = $("picture"), before = now.before;
  state = now;
  $("enter").hidden = true;
  $("desk").hidden = !now.picture;
  $("finished").hidden = Boolean(now.picture);
  $("who").textContent = now.annotator;
  $("bar").value = now.done;
  $("bar").max = Math.max(now.total, 1);
  const left = now.pace ? now.pace * (now.total - now.done) : 0;
  const time = left < 90 ? `${Math.ceil(left / 10) * 10} s` : `${Math.round(left / 60)} min`;
  $("count").textContent = `${now.done} of ${now.total}` +
    (now.skipped ? ` · ${now.skipped} skipped` : "") +
    (now.pace && left ? ` · ${now.pace.toFixed(1)} s a picture, about ${time} left` : "");
  chosen.mask_types = before ? before.mask_type : "";
  chosen.poses = before ? before.pose : "";
  $("tags").value = before ? before.tags.join(", ") : "";
  press("mask_types");
  press("poses");
  for (const one of $("classes").querySelectorAll("button"))
    one.classList.toggle("before", Boolean(before) && one.dataset.label === before.label);
  $("undo").disabled = !now.can_undo;
  if (now.picture && image.dataset.picture !== now.picture) {
    image.dataset.picture = now.picture;
    ready = loaded = false;
    image.removeAttribute("src");  // the last face must not stand above the keys of this one
    image.hidden = false;
    $("lost").hidden = true;
    image.src = address(now.picture);
  }
  if (answers.boxes && now.picture) suggestBox(now);
  if (now.next) new Image().src = address(now.next);
  shownAt = performance.now();
  hiddenFor = 0;
}

function startTimer() {
  loaded = true;
  if (!hasBox()) return;  // it starts when the box is there
  ready = true;
  shownAt = performance.now();
  hiddenFor = 0;
  if (document.hidden) hiddenAt = shownAt;
}
$("picture").addEventListener("load", startTimer);
$("picture").addEventListener("error", () => {
  startTimer();
  $("picture").hidden = true;
  $("lost").hidden = false;
  $("lost").textContent = "This picture cannot be read. Press x (not a face), or skip it.";
});
$("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const now = await post("state", { annotator: $("name").value });
  if (!now) return;
  document.activeElement.blur();
  show(now);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else hiddenFor += performance.now() - hiddenAt;
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state) return;
  if (event.target === $("tags")) {
    if (event.key === "Enter" || event.key === "Escape") $("tags").blur();
    return;
  }
  if (event.target === $("box") && boxKey(event)) return;
  if (event.repeat) return;
  if (event.key === "b" && answers.boxes) {
    $("box").focus();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    $("tags").focus();
    return;
  }
  const found = keys.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
  if (found && !(found.disabled) && ($("finished").hidden || found.id === "undo")) {
    event.preventDefault();
    found.click();
  }
});
