// The OpenAPI document as a page.
"use strict";

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Words between backticks are code.
function prose(name, text) {
  const made = element(name);
  text.split("`").forEach((part, place) => made.append(place % 2 ? element("code", part) : part));
  return made;
}

function kind(schema) {
  if (!schema) return "";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.filter((each) => each.type !== "null").map(kind).join(" or ");
  if (schema.type === "array") return `${kind(schema.items)}, repeated`;
  const bounds = [
    schema.minimum !== undefined ? `≥ ${schema.minimum}` : "",
    schema.maximum !== undefined ? `≤ ${schema.maximum}` : "",
  ].filter(Boolean);
  return [schema.format || schema.type, ...bounds].join(" ");
}

function parameters(route) {
  const table = element("table");
  for (const each of route.parameters.filter((one) => one.in === "query")) {
    const row = element("tr");
    const name = element("th");
    name.scope = "row";
    name.append(element("code", each.name));
    const start = each.schema && each.schema.default;
    const words = [each.description, start === undefined || start === null ? "" : `[${start}]`].filter(Boolean);
    row.append(name, element("td", kind(each.schema)), prose("td", words.join(" ")));
    table.append(row);
  }
  return table;
}

// The keys of a JSON body, by the model that it names.
function keys(route, models) {
  const table = element("table");
  const schema = route.requestBody.content["application/json"].schema;
  const named = [schema, ...(schema.anyOf || [])].find((each) => each.$ref);
  const model = models[named.$ref.split("/").pop()];
  for (const [key, each] of Object.entries(model.properties)) {
    const row = element("tr");
    const name = element("th");
    name.scope = "row";
    name.append(element("code", key));
    const must = (model.required || []).includes(key) ? "needed; " : "";
    const start = each.default === undefined || each.default === null ? "" : ` [${each.default}]`;
    row.append(name, element("td", kind(each)), prose("td", `${must}${each.description || ""}${start}`));
    table.append(row);
  }
  return table;
}

function answers(route) {
  const list = element("table");
  for (const [status, told] of Object.entries(route.responses)) {
    const row = element("tr");
    const code = element("th", status);
    code.scope = "row";
    row.append(code, prose("td", told.description));
    list.append(row);
  }
  return list;
}

function section(path, verb, route, models) {
  const made = element("section");
  made.className = "route";
  const title = element("h2");
  title.append(element("code", `${verb.toUpperCase()} ${path}`));
  made.append(title, prose("p", route.description || route.summary || ""));
  if (route.requestBody && (route.requestBody.content["application/json"] || {}).schema) made.append(element("h3", "Body"), keys(route, models));
  if (route.parameters && route.parameters.some((each) => each.in === "query")) made.append(element("h3", "Query"), parameters(route));
  made.append(element("h3", "Answers"), answers(route));
  const good = Object.entries(route.responses).find(([status]) => status.startsWith("2"));
  const content = (good[1].content || {})["application/json"];
  if (content && content.example) made.append(element("h3", "Example"), element("pre", JSON.stringify(content.example, null, 1)));
  return made;
}

async function show() {
  const status_ = document.querySelector("#status");
  try {
    const told = await (await fetch("openapi.json")).json();
    status_.textContent = `${told.info.title} ${told.info.version}. ${told.info.description}`;
    const routes = Object.entries(told.paths).flatMap(([path, verbs]) =>
      Object.entries(verbs).map(([verb, route]) => section(path, verb, route, told.components.schemas)));
    document.querySelector("#routes").replaceChildren(...routes);
  } catch (refused) {
    status_.textContent = `openapi.json could not be read: ${refused.message}`;
    status_.className = "bad";
  }
}

show();
