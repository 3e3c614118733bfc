// What is expected and why: the views Now, Ranking, Rhythm and Image. Shares the helpers of page.js.
"use strict";

const LEVELS = 5;

views.now = async (section, site) => {
  const place = (kind) => section.querySelector(`.${kind} .body`);
  await Promise.all([
    fill(section.querySelector(".tiles"), () => tiles(site)),
    fill(place("verdict"), () => verdict(site)),
    fill(place("health"), () => health(site)),
    fill(place("causes"), () => causes(site)),
  ]);
};

async function tiles(site) {
  const [hits, schedules] = await Promise.all([read("v1/reports/hit-rate", { site: site.site }), read("v1/schedules")]);
  const coming = schedules.schedules.filter((row) => row.next && !row.paused).sort((a, b) => new Date(a.next) - new Date(b.next))[0];
  return [
    tile("hit ratio", percent(hits.hit_rate), hits.hit_rate === null ? "no pull can be judged yet" : hits.judgement),
    site.peak
      ? tile("next peak", moment(site.peak.time, site.timezone), `${site.peak.mean.toFixed(1)} pulls in that hour`)
      : tile("next peak", "–", site.unknown),
    coming
      ? tile("next run", moment(coming.next, coming.timezone || "UTC"), `${coming.name}: ${coming.verb} ${coming.cache}`)
      : tile("next run", "none", "no schedule is due; see Runs"),
    tile("in demand", counted(site.images || 0, "image"), `${counted(site.pulls, "pull")} read`),
  ];
}

async function verdict(site) {
  const told = await read("v1/assessment", { site: site.site });
  const reasons = element("ul");
  reasons.append(...told.why.map((why) => element("li", why)));
  const next = { pays: "A schedule with holdout = 0.1 measures it: see Runs and Value.", "fix this first": "Do that first, then look here again." };
  return [
    element("p", `Pre-warming ${told.verdict === "fix this first" ? "can wait: fix this first" : told.verdict}.`, "answer"),
    reasons,
    element("p", `${next[told.verdict] || ""} How sure hits and misses are: ${told.sure || "unknown"}.`, "note"),
    ...told.cannot_say.slice(0, 3).map((words) => element("p", `Cannot say: ${words}`, "note")),
  ];
}

async function health(site) {
  const metrics = await asked("metrics").then((answer) => answer.text()).catch((refused) => { if (!refused.code) throw refused; return ""; });
  const gauge = (name) => (metrics.match(new RegExp(`^${name} (\\S+)$`, "m")) || [])[1];
  const line = (good, words) => { const made = element("li", words, good ? "good" : "poor"); made.prepend(element("span", good ? "fine: " : "trouble: ", "quiet")); return made; };
  const list = element("ul", undefined, "lights");
  const age = site.last ? now() - new Date(site.last) : Infinity;
  list.append(line(!site.unknown, site.unknown || "its rankings can be answered"));
  if (gauge("prewarm_ready")) list.append(line(gauge("prewarm_ready") === "1", gauge("prewarm_ready") === "1" ? "the lake can be read" : "the lake cannot be read; what is shown is old"));
  if (gauge("prewarm_feed_ready")) list.append(line(gauge("prewarm_feed_ready") === "1", gauge("prewarm_feed_ready") === "1" ? "logs and deliveries can be read" : "logs or deliveries cannot be read; the service's log says why"));
  if (site.last) list.append(line(age < 24 * 3600_000, `the last access read was ${ago(site.last)}${age < 24 * 3600_000 ? "" : ": is its log still read?"}`));
  return list;
}

async function causes(site) {
  const told = await read("v1/reports/misses", { site: site.site });
  if (!told.misses) return element("p", "No pull missed, as far as the log tells. Caches that log hits and misses, or digests, tell most.", "note");
  const some = told.causes.filter((row) => row.misses > 0);
  const words = some.map((row) => `${row.cause} ${row.misses}`).join(", ");
  return [
    element("p", `${counted(told.misses, "miss", "misses")} of ${counted(told.pulls, "pull")} (${percent(told.miss_rate)}); people waited ${took(told.wait_seconds)} for them.`),
    await figure("causes", { site: site.site }, `Bars: misses by cause: ${words}`),
    table("Misses by cause", ["cause", "misses", "share", "waited", "what removes them"],
      some.map((row) => [row.cause, row.misses.toLocaleString("en"), percent(row.share), took(row.wait_seconds), row.remedy])),
  ];
}

views.ranking = async (section, site) => {
  const form = section.querySelector("form").elements;
  if (!form.hour.options.length) form.hour.append(...[...Array(24).keys()].map((hour) => new Option(`${String(hour).padStart(2, "0")}:00`, hour)));
  const day = form.day.value;
  form.hour.parentElement.hidden = !day;
  form.hours.parentElement.hidden = Boolean(day);
  await fill(section.querySelector(".body"), async () => {
    if (site.unknown) return element("p", site.unknown, "note");
    const query = { site: site.site, limit: form.limit.value };
    const told = await read("v1/rankings", day ? { ...query, day } : { ...query, hours: form.hours.value });
    const hour = (at) => Number(clock(site.timezone, { hour: "2-digit", hourCycle: "h23" }).format(new Date(at)));
    const window = day ? told.answers.find((each) => hour(each.at) === Number(form.hour.value)) : told;
    if (!window) return element("p", `${day} has no such hour at ${site.site}: clocks go forward then.`, "note");
    return ranked(window, told, site, day ? moment(window.at, site.timezone) : form.hours.selectedOptions[0].text);
  });
};

function ranked(window, told, site, when) {
  const most = Math.max(...window.ranking.map((row) => row.mean), 1e-9);
  const stale = window.ranking.some((row) => row.p_stale !== undefined && row.p_stale !== null);
  const made = table(`Expected pulls, ${when}`, ["#", "image", "pulls", "P(≥1)", ...(stale ? ["P(stale)"] : []), "size"],
    window.ranking.map((row) => {
      const name = element("span", undefined, "named"), bar = element("span", undefined, "bar");
      bar.style.width = `${(100 * row.mean) / most}%`;
      name.append(imageLink(row.image), bar);
      const more = stale ? [row.p_stale === null ? "–" : row.p_stale.toFixed(2)] : [];
      return [row.rank, name, row.mean.toFixed(1), row.probability.toFixed(2), ...more, size(row.bytes)];
    }));
  made.classList.add("ranked");
  return [
    element("p", `${when} at ${site.site}: ${Math.min(window.ranking.length, window.total)} of ${counted(window.total, "image")}, by model ${told.model}, known until ${moment(site.cutoff, site.timezone)}. An image's own page says why.`),
    made,
    ...told.warnings.map((text) => element("p", text, "warning")),
  ];
}

function heat(told) {
  const most = Math.max(...told.pulls_an_hour.flat().filter((pulls) => pulls !== null), 0);
  const parts = clock(told.timezone, { weekday: "short", hour: "2-digit", hourCycle: "h23" }).formatToParts(new Date(now()));
  const part = (type) => parts.find((each) => each.type === type).value;
  const made = element("table", undefined, "heat"), head = element("thead"), body = element("tbody"), line = element("tr");
  made.append(element("caption", "Mean pulls an hour, weekday by hour of the day", "quiet"));
  line.append(element("td"));
  for (let hour = 0; hour < 24; hour++) {
    const label = element("th", hour % 3 ? "" : String(hour).padStart(2, "0"));
    label.scope = "col";
    if (hour % 3) label.append(element("span", String(hour).padStart(2, "0"), "quiet"));
    line.append(label);
  }
  head.append(line);
  told.weekdays.forEach((day, row) => {
    const week = element("tr"), label = element("th", day);
    label.scope = "row";
    week.append(label);
    told.pulls_an_hour[row].forEach((pulls, hour) => {
      const level = pulls === null ? "none" : pulls <= 0 ? "l0" : `l${Math.max(1, Math.ceil((LEVELS * pulls) / most))}`;
      const cell = element("td", undefined, level);
      cell.title = `${day} ${String(hour).padStart(2, "0")}:00, ${pulls === null ? "not observed" : `${pulls.toFixed(1)} pulls an hour`}`;
      cell.append(element("span", pulls === null ? "–" : pulls.toFixed(1), "quiet"));
      if (day === part("weekday") && hour === Number(part("hour"))) cell.classList.add("now");
      week.append(cell);
    });
    body.append(week);
  });
  made.append(head, body);
  return [made, most];
}

async function week(site, image) {
  const told = await read("v1/rhythm", { site: site.site, image });
  const [drawn, most] = heat(told);
  const box = element("div", undefined, "scroll"), scale = element("p", "0", "scale");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Mean pulls by hour of the week");
  box.append(drawn);
  for (let level = 1; level <= LEVELS; level++) scale.append(element("i", undefined, `l${level}`));
  scale.append(`${most.toFixed(1)} pulls an hour; hours of ${told.timezone}, now outlined`);
  return [box, scale];
}

views.rhythm = async (section, site) => {
  const image = section.querySelector("form").elements.image.value.trim();
  suggest(site);
  await fill(section.querySelector(".body"), async () =>
    site.unknown ? element("p", site.unknown, "note") : [element("p", `${image ? short(image) : "All images"} at ${site.site}, holidays left out.`), ...(await week(site, image))]);
};

async function suggest(site) {
  const told = await read("v1/images", { site: site.site, limit: 200 }).catch(() => ({ images: [] }));
  document.querySelector("#names").replaceChildren(...told.images.map((row) => new Option(short(row.image))));
}

views.image = async (section, site, image) => {
  suggest(site);
  const body = section.querySelector("#image > .body");
  if (body.dataset.image !== image) body.replaceChildren();
  body.dataset.image = image;
  section.querySelector("h2").textContent = image ? short(image) : "Image";
  if (image) section.querySelector("form").elements.image.value = short(image);
  await fill(body, () => (image ? portrait(site, image) : mostPulled(site)));
};

async function mostPulled(site) {
  const told = await read("v1/images", { site: site.site, limit: 20 });
  const card = element("div", undefined, "card");
  card.append(element("p", "Pick one, or type a name. Most pulled in the last eight weeks:"),
    table("Most pulled images", ["image", "pulls", "last", "size"],
      told.images.map((row) => [imageLink(row.image), row.pulls.toLocaleString("en"), row.last ? ago(row.last) : "–", size(row.bytes)])));
  return card;
}

const card = (title, ...parts) => { const made = element("div", undefined, "card"); made.append(element("h3", title), ...parts); return made; };

async function portrait(site, image) {
  const told = await read(`v1/images/${encodeURI(image)}`, { site: site.site });
  const here = told.sites.find((each) => each.site === site.site);
  const query = { site: site.site, image: told.image };
  const found = [element("p", here
    ? `${told.image}: ${here.last ? `${counted(here.pulls, "pull")} at ${site.site}, the last one ${ago(here.last)}` : `pushed, and not pulled at ${site.site} yet`}; ${here.expected.toFixed(1)} expected in the coming 24 hours, which is rank ${here.rank}.`
    : `${told.image}: nobody at ${site.site} has pulled it in the last eight weeks.`, "facts")];
  if (here) {
    const words = `Line: pulls of ${short(image)} in the last week, and ${here.expected.toFixed(1)} expected in the coming day, with an interval of 90 %`;
    found.push(card("History and forecast", await figure("band", query, words)), card("Rhythm", ...(await week(site, told.image))), card("Why this number", ...why(here.why, site)));
  }
  found.push(card("Where it is warm", warm(told.caches)), card("Layers", ...layers(told.catalogue)), card("Other tags", tags(told.tags)));
  return found;
}

function why(told, site) {
  const rows = told.links.map((link) => [link.step, link.value.toFixed(3), link.note]);
  if (told.waited === null) rows.push(["recent level", `× ${told.ratio.toFixed(2)}`, "how the last hours compare with the profile"]);
  rows.push(...told.views.filter((view) => view.weight >= 0.005).map((view) => [`by ${view.name}`, view.mean.toFixed(3), `weighs ${Math.round(100 * view.weight)} %`]));
  if (told.plain) rows.push([`by ${told.plain.name}`, told.plain.mean.toFixed(3), `weighs ${Math.round(100 * told.plain.weight)} % beside all this`]);
  rows.push([`expected by ${told.model}`, told.mean.toFixed(3), ""]);
  return [element("p", `The hour from ${moment(told.time, site.timezone)}, its busiest of the coming day:`), table("Why this number", ["step", "pulls an hour", "what it is"], rows)];
}

function warm(caches) {
  if (!caches.length) return element("p", "No run has brought it into a cache yet. Runs → Plan shows whether one would.", "note");
  return table("Caches that hold it", ["cache", "since", "kept until", "digest"],
    caches.map((row) => [row.cache, ago(row.finished_at), row.expires_at ? moment(row.expires_at, "UTC") + " UTC" : "it is evicted", element("code", (row.digest || "–").slice(0, 19))]));
}

function layers(known) {
  if (!known) return [element("p", "Its manifest was not asked for yet: the next plan that considers it asks.", "note")];
  return [
    element("p", `${size(known.bytes)}${known.platform ? `, ${known.platform}` : ""}; ${known.digest}, seen ${ago(known.checked_at)}.`),
    table("Layers", ["digest", "size"], known.layers.map((layer) => [element("code", layer.digest.slice(0, 26) + "…"), size(layer.bytes)])),
  ];
}

function tags(rows) {
  if (!rows.length) return element("p", "No other tag of its repository was pulled in the last eight weeks.", "note");
  return table("Other tags", ["image", "pulls", "last"], rows.map((row) => [imageLink(row.image), row.pulls.toLocaleString("en"), row.last ? ago(row.last) : "–"]));
}

document.querySelector("#ranking form").addEventListener("change", look);
document.querySelector("#rhythm form").addEventListener("submit", (event) => { event.preventDefault(); look(); });
document.querySelector("#image form").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `#image/${encodeURI(event.target.elements.image.value.trim())}`;
});
