// The view Runs, and the kill switch. Shares the helpers of page.js; names only ever become text nodes.
"use strict";

const SOON = 5_000; // ms between looks
const find = (name) => document.querySelector(`#runs ${name}`);
const watched = new Map(); // run -> what its events said so far

async function command(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(new URL(path, document.baseURI), { method: "POST", headers, body: JSON.stringify(body || {}) });
  const found = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, found.detail);
  return found;
}

// Do what a button says; a refusal is told in words, and everything is looked at again.
function say(words, kind = "") {
  for (const each of document.querySelectorAll(".told")) {
    each.textContent = words;
    each.className = `told ${kind}`;
  }
}

async function act(words, work) {
  say(words);
  try {
    say((await work()) || "");
  } catch (refused) {
    say(refused.message, "bad");
  }
  await watch();
}

function button(words, label, work, kind) {
  const made = element("button", words, kind);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", work);
  return made;
}

const going = (run) => run.state === "planning" || run.state === "running";

function progress(run) {
  const { totals } = run;
  const done = totals.warmed + totals.already + totals.failed + totals.cancelled;
  if (!going(run)) {
    const parts = ["warmed", "already", "failed", "withheld", "cancelled"].filter((state) => totals[state]);
    return parts.map((state) => `${totals[state]} ${state}`).join(", ") || "nothing to warm";
  }
  const heard = watched.get(run.id) || { warms: 0, done: 0, image: "" };
  const cell = element("span", undefined, "going");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", `progress of ${run.id}`);
  if (heard.warms) {
    bar.max = heard.warms;
    bar.value = Math.max(heard.done, done);
  }
  const words = heard.warms ? `${bar.value} of ${heard.warms}` : "planning";
  cell.append(bar, element("span", heard.image ? `${words}: ${short(heard.image)}` : words));
  return cell;
}

function runRow(run) {
  const stop = going(run)
    ? button("Cancel", `Cancel ${run.id}`, () => act("Ending the run…", () => command(`v1/runs/${run.id}/cancel`).then(() => "")))
    : button("Outcomes", `Outcomes of ${run.id}`, () => act("", () => read(`v1/runs/${run.id}`).then(ended)));
  const state = element("span", run.state, `state ${run.state}`);
  const line = cells(run.cache, state, progress(run), size(run.totals.bytes), run.started_at ? ago(run.started_at) : "–", stop);
  line.firstChild.title = run.id;
  if (run.error) line.children[2].append(element("span", run.error, "warning"));
  return line;
}

// A run that goes on, heard as it happens. EventSource cannot send a token; fetch can.
async function listen(run) {
  const heard = { warms: 0, done: 0, image: "" };
  watched.set(run.id, heard);
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(new URL(`v1/runs/${run.id}/events`, document.baseURI), { headers });
    if (!answer.ok) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      parts.forEach((part) => hear(heard, part));
      await list();
    }
  } finally {
    await watch();
  }
}

function hear(heard, part) {
  const name = (part.match(/^event: (.*)$/m) || [])[1];
  const data = JSON.parse((part.match(/^data: (.*)$/m) || [null, "{}"])[1]);
  if (name === "plan") heard.warms = data.warms;
  if (name === "started") heard.image = data.image;
  if (name === "outcome") heard.done += data.state === "warmed" || data.state === "already" || data.state === "failed";
}

function scheduleRow(row) {
  const name = encodeURIComponent(row.name);
  const verb = row.paused ? "resume" : "pause";
  const words = row.paused ? "Resume" : "Pause";
  const hold = button(words, `${words} ${row.name}`, () => act("", () => command(`v1/schedules/${name}/${verb}`).then(() => "")));
  const next = row.paused ? "paused" : row.next ? moment(row.next, row.timezone || "UTC") : row.problem || "never";
  const last = row.last ? `${row.what}, ${ago(row.last)}` : "nothing yet";
  return cells(row.name, `${row.verb} ${row.cache}${row.mode === "warm" ? "" : ", forecast only"}`, next, last, hold);
}

function planned(plan) {
  const rows = plan.warms.map((warm) => cells(imageLink(warm.image), size(warm.bytes), warm.reason));
  rows.push(...plan.skipped.map((skip) => cells(imageLink(skip.image), "–", `not warmed: ${skip.reason}`)));
  find(".planned tbody").replaceChildren(...rows);
  find(".planned .words").textContent =
    `Plan ${plan.id} for ${plan.cache}: ${counted(plan.warms.length, "image")} to warm, ${size(plan.bytes)}. Nothing was transferred.`;
  find(".planned").hidden = false;
  find(".planned").dataset.plan = plan.id;
}

function wanted() {
  const form = find("form");
  return { cache: form.elements.cache.value, top: Number(form.elements.top.value) };
}

function ended(run) {
  find(".outcomes h3").textContent = `Outcomes of ${run.id}`;
  find(".outcomes tbody").replaceChildren(...run.outcomes.map((each) =>
    cells(imageLink(each.image), element("span", each.state, `state ${each.state}`), size(each.bytes), each.seconds === null ? "–" : each.seconds.toFixed(1), each.error || "")));
  find(".outcomes").hidden = false;
  return run.outcomes.length ? "" : "The run has no outcome.";
}

const begun = (run) => `Run ${run.id} begun.`;

let lately = [];

async function list() {
  const rows = lately.map(runRow);
  find(".lately tbody").replaceChildren(...rows);
  find(".lately .none").hidden = rows.length > 0;
}

function switches(told) {
  const since = told.since ? ` since ${ago(told.since)}, by ${told.by}` : "";
  for (const each of document.querySelectorAll(".switch")) {
    each.textContent = told.paused ? "Resume warming" : "Pause all warming";
    each.setAttribute("aria-pressed", String(told.paused));
  }
  for (const each of document.querySelectorAll(".pausing")) {
    each.textContent = told.paused ? `Nothing warms: paused${since}${told.why ? ` (${told.why})` : ""}.` : "Warming may begin at any time that a schedule or a person says.";
    each.classList.toggle("bad", told.paused);
  }
}

async function watch() {
  try {
    switches(await read("v1/pause"));
    const [runs, schedules, caches] = await Promise.all(
      [["v1/runs", { limit: 20 }], ["v1/schedules"], ["v1/caches"]].map((each) => read(...each)));
    const select = find("select");
    if (select.options.length !== caches.total) {
      select.replaceChildren(...caches.caches.map((cache) => new Option(cache.name, cache.name)));
    }
    find("form").hidden = caches.total === 0;
    find(".empty-caches").hidden = caches.total > 0;
    lately = runs.runs;
    lately.filter((run) => going(run) && !watched.has(run.id)).forEach(listen);
    await list();
    find(".schedules tbody").replaceChildren(...schedules.schedules.map(scheduleRow));
    find(".schedules .none").hidden = schedules.total > 0;
    find(".schedules .scroll").hidden = schedules.total === 0;
  } catch (refused) {
    if (refused.code && refused.code !== 401 && refused.code !== 403) say(refused.message, "bad");
  }
}

views.runs = watch;

for (const each of document.querySelectorAll(".switch")) {
  each.addEventListener("click", () => {
    const on = each.getAttribute("aria-pressed") === "true";
    act(on ? "Resuming…" : "Pausing…", () => command(on ? "v1/resume" : "v1/pause").then(() => ""));
  });
}
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  act("Asking the cache what it holds…", () => command("v1/plans", wanted()).then(planned));
});
find(".now").addEventListener("click", () => act("Beginning…", () => command("v1/runs", wanted()).then(begun)));
find(".execute").addEventListener("click", () => {
  find(".planned").hidden = true;
  act("Beginning…", () => command("v1/runs", { plan: find(".planned").dataset.plan }).then(begun));
});
login.addEventListener("submit", () => setTimeout(watch, 500));
setInterval(watch, SOON);
watch();
