// What it was worth: warmed against withheld, waste, and how good the forecasts are. Shares the helpers of page.js.
"use strict";

views.value = async (section, site) => {
  const place = (kind) => section.querySelector(`.${kind} .body`);
  await Promise.all([
    fill(section.querySelector(".tiles"), () => saved(site)),
    fill(place("arms"), () => withheld(site)),
    fill(place("used"), () => brought(site)),
    fill(place("scores"), () => scores(site)),
  ]);
};

async function saved(site) {
  const told = await read("v1/reports/savings", { site: site.site });
  const share = told.warmed_bytes ? ` (${percent(told.wasted_bytes / told.warmed_bytes)})` : "";
  return [
    tile("waiting saved", took(told.seconds_saved), "modelled from the bytes that runs brought"),
    tile("warmed", size(told.warmed_bytes), `${counted(told.upstream_fetches_moved, "fetch", "fetches")} moved ahead of the people who wait`),
    tile("wasted", `${size(told.wasted_bytes)}${share}`, "warmed, and not pulled in its hours"),
    tile("served by the cache", size(told.cache_bytes), `${counted(told.upstream_pulls_avoided, "pull")} that upstream did not see`),
  ];
}

async function withheld(site) {
  const told = await read("v1/reports/holdout", { site: site.site });
  const [warmed, held] = ["warmed", "withheld"].map((arm) => told.arms.find((row) => row.arm === arm));
  if (!held || !held.images) {
    return [
      element("p", "Nothing was withheld yet, so nothing is proven: a schedule that withholds a tenth of each plan measures what warming gains."),
      element("pre", "[schedules.morning]\nholdout = 0.1"),
    ];
  }
  const said = told.misses_removed_per_image;
  const words = said === undefined
    ? `Too early to say: ${counted(warmed.pulled, "warmed image")} and ${counted(held.pulled, "withheld image")} were pulled in their hours.`
    : `Warming removes ${said.toFixed(2)} misses of an image's first pull (${told.lo.toFixed(2)} to ${told.hi.toFixed(2)}): ${told.clear ? "that is clear" : `not clear yet${told.days_until_clear ? `, in about ${counted(told.days_until_clear, "day")}` : ""}`}.`;
  const rows = [warmed, held].map((row) => [row.arm, row.images, row.pulled, percent(row.first_miss_rate), percent(row.miss_rate), row.p50 === undefined || row.p50 === null ? "–" : `${row.p50.toFixed(1)} s`]);
  return [
    element("p", words),
    await figure("arms", { site: site.site }, `Bars: first pulls that missed: warmed ${percent(warmed.first_miss_rate)}, withheld ${percent(held.first_miss_rate)}`),
    table("Warmed against withheld", ["arm", "images", "pulled", "first pull missed", "pulls missed", "median pull"], rows),
  ];
}

async function brought(site) {
  const told = await read("v1/reports/warmed", { site: site.site });
  if (!told.runs) return element("p", "No run has warmed anything for this site. Runs → Plan shows what one would bring, and transfers nothing.", "note");
  return [
    element("p", `${counted(told.runs, "run")} brought ${counted(told.warmed, "image")} and ${size(told.bytes)}; ${percent(told.precision)} of the images were pulled in their hours, ${size(told.wasted_bytes)} were for nothing.`),
    table("What runs brought", ["run", "cache", "begun", "warmed", "used", "bytes", "wasted"],
      told.runs_in_order.slice(-20).reverse().map((row) => [element("code", row.run), row.cache, row.started ? ago(row.started) : "–", row.warmed, row.used, size(row.bytes), size(row.wasted_bytes)])),
  ];
}

async function scores(site) {
  const told = await read("v1/scorecard", { site: site.site });
  const column = "capture@10";
  const rows = Object.entries(told.models).sort(([, a], [, b]) => b[column] - a[column]);
  return [
    element("p", `${told.verdict}.`),
    await figure("scores", { site: site.site }, `Bars: ${column} by model: ${rows.map(([name, row]) => `${name} ${Number(row[column]).toFixed(2)}`).join(", ")}`),
    element("p", `${column}: share of a day's pulls that the ten images named beforehand had, over the last ${counted(told.origins, "day")}.`, "note"),
  ];
}
