"use strict";
// All content is inserted as text, never as markup, because definitions are not trusted.

const METHODS = ["get", "post", "put", "patch", "delete"];
const at = (id) => document.getElementById(id);
let api = {};
let token = null;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function resolve(thing) {
  let found = thing;
  while (found && found.$ref) {
    found = found.$ref.slice(2).split("/").reduce((inside, key) => inside[key.replaceAll("~1", "/").replaceAll("~0", "~")], api);
  }
  return found || {};
}

const types = (schema) => [schema.type].flat().filter(Boolean);

function typeName(given) {
  const schema = resolve(given);
  const choices = schema.oneOf || schema.anyOf;
  if (choices && !schema.type) return choices.map(typeName).join(" or ");
  if (types(schema).includes("array")) {
    const list = "list of " + typeName(schema.items || {});
    return types(schema).includes("null") ? list + " or null" : list;
  }
  return types(schema).join(" or ") || "anything";
}

function limits(schema) {
  const said = [];
  const items = resolve(schema.items);
  const words = schema.enum || items.enum;
  if (words) said.push("One of " + words.join(", "));
  if (schema.format && schema.format !== "int64" && schema.format !== "int32") said.push(schema.format);
  if (schema.minimum !== undefined && schema.maximum !== undefined) said.push(`${schema.minimum} to ${schema.maximum}`);
  else if (schema.minimum !== undefined) said.push(`at least ${schema.minimum}`);
  else if (schema.maximum !== undefined) said.push(`at most ${schema.maximum}`);
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  if (schema.maxItems !== undefined) said.push(`at most ${schema.maxItems} items`);
  if (schema.uniqueItems) said.push("no duplicates");
  return said.join("; ");
}

function fieldsOf(given) {
  const schema = resolve(given);
  const choices = (schema.oneOf || (schema.properties ? null : schema.anyOf) || []).filter((one) => resolve(one).type !== "null");
  if (choices.length) {
    return choices.map((one, index) => make("div", {}, make("p", { class: "quiet" }, (index ? "or " : "") + typeName(one)), fieldsOf(one)));
  }
  if (types(schema).includes("array")) return fieldsOf(schema.items);
  if (!schema.properties) return [];
  const required = new Set(schema.required || []);
  const rows = Object.entries(schema.properties).map(([name, property]) => {
    const field = resolve(property);
    const text = (property.description || field.description || "").replaceAll("\n", " ");
    const bounds = limits(field);
    return make("div", {},
      make("dt", {}, make("code", {}, name), make("span", { class: "type" }, typeName(property)),
        required.has(name) ? make("span", { class: "must" }, "required") : null),
      make("dd", {}, text, text && bounds ? " " : "", bounds ? make("span", { class: "limits" }, bounds) : ""));
  });
  return [make("dl", { class: "fields" }, rows)];
}

function example(given) {
  const schema = resolve(given);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples && schema.examples.length) return schema.examples[0];
  const choices = schema.properties ? null : schema.oneOf || schema.anyOf;
  if (choices) return example(choices[0]);
  if (schema.enum) return schema.enum[0];
  const type = types(schema)[0];
  if (type === "object") {
    return Object.fromEntries(Object.entries(schema.properties || {}).map(([name, field]) => [name, example(field)]));
  }
  if (type === "array") return schema.items ? [example(schema.items)] : [];
  if (type === "integer" || type === "number") return schema.minimum || 0;
  if (type === "boolean") return true;
  if (schema.format === "date-time") return "2023-05-17T12:45:27.5286883Z";
  return type === "string" ? "text" : null;
}

/** Only required fields and fields with an example, so that the example can be sent unchanged. */
function requestExample(given) {
  const schema = resolve(given);
  if (schema.example !== undefined) return schema.example;
  const required = new Set(schema.required || []);
  const fields = Object.entries(schema.properties || {});
  const chosen = fields.filter(([name, field]) => required.has(name) || resolve(field).example !== undefined);
  return Object.fromEntries(chosen.map(([name, field]) => [name, example(field)]));
}

const isForm = (type) => type === "application/x-www-form-urlencoded";
const written = (type, value) => (isForm(type) ? new URLSearchParams(value).toString() : JSON.stringify(value, null, 2));

function bodyOf(operation) {
  const body = resolve(operation.requestBody);
  const [type, content] = Object.entries(body.content || {})[0] || [];
  if (!type) return null;
  const choices = (resolve(content.schema).oneOf || []).filter((one) => resolve(one).type !== "null");
  return { type, schema: choices[0] || content.schema, required: Boolean(body.required) };
}

function answers(operation) {
  return Object.entries(operation.responses || {}).map(([status, given]) => {
    const response = resolve(given);
    const [type, content] = Object.entries(response.content || {})[0] || [];
    const headers = Object.keys(response.headers || {}).join(", ");
    const good = status.startsWith("2");
    return make("details", { class: "answer" },
      make("summary", {}, make("span", { class: good ? "status good" : "status bad" }, status), " ", response.description || ""),
      headers ? make("p", { class: "quiet" }, "Headers: " + headers) : null,
      content ? [fieldsOf(content.schema), make("h4", {}, "Example, " + type), make("pre", {}, written(type, example(content.schema)))] : null);
  });
}

function urlOf(path, item, parameters, values) {
  const servers = item.servers || [];
  const base = servers.length ? servers[0].url.replace(/\/$/, "") : at("base").value;
  const query = new URLSearchParams();
  let filled = path;
  for (const { name, in: place } of parameters) {
    const value = values.get("parameter " + name) || "";
    if (place === "path") filled = filled.replace("{" + name + "}", encodeURIComponent(value));
    else if (place === "query" && value) query.set(name, value);
  }
  const search = query.toString();
  return base + filled + (search ? "?" + search : "");
}

async function send(request, shown) {
  const started = performance.now();
  const response = await fetch(request.url, { method: request.method, headers: request.headers, body: request.body, cache: "no-store", credentials: "omit" });
  const text = await response.text();
  let body = text;
  try { body = JSON.stringify(JSON.parse(text), null, 2); } catch { /* It is not JSON: shown as received. */ }
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  shown.replaceChildren(
    make("p", {}, make("span", { class: response.ok ? "status good" : "status bad" }, `${response.status} ${response.statusText}`),
      ` in ${Math.round(performance.now() - started)} ms, ${request.method} ${request.url}`),
    make("h4", {}, "Headers"), make("pre", { tabindex: 0 }, headers),
    make("h4", {}, "Body"), make("pre", { tabindex: 0 }, body || "(none)"));
}

function trial(method, path, item, operation) {
  const parameters = [...(item.parameters || []), ...(operation.parameters || [])].map(resolve);
  const body = bodyOf(operation);
  const shown = make("div", { role: "status" });
  const inputs = parameters.map(({ name, required }) => make("label", {}, name, make("input", { name: "parameter " + name, required, spellcheck: "false", autocomplete: "off" })));
  const area = body ? make("label", {}, "Body, " + body.type, make("textarea", { name: "body", spellcheck: "false" })) : null;
  if (body) area.querySelector("textarea").value = written(body.type, requestExample(body.schema));
  const button = make("button", {}, "Send");
  const form = make("form", {}, inputs, area, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = new FormData(form);
    const headers = {};
    // The token endpoint gets the credentials in its body.
    if (token && path !== "/oauth/token") headers.Authorization = "Bearer " + token;
    const text = body ? String(values.get("body")) : "";
    if (text) headers["Content-Type"] = body.type;
    button.disabled = true;
    try {
      await send({ url: urlOf(path, item, parameters, values), method, headers, body: text || undefined }, shown);
    } catch (error) {
      shown.replaceChildren(make("p", { class: "status bad" }, "No answer: " + error.message));
    }
    button.disabled = false;
  });
  return make("div", { class: "try" }, make("h4", {}, "Try it"), form, shown);
}

function operationShown(path, method, item, operation) {
  const upper = method.toUpperCase();
  const parameters = [...(item.parameters || []), ...(operation.parameters || [])].map(resolve);
  const inside = make("div", { class: "inside" });
  const shown = make("details", { class: "operation", id: operation.operationId },
    make("summary", {}, make("span", { class: "method " + upper }, upper), make("span", { class: "path" }, path), make("span", { class: "summary" }, operation.summary || "")),
    inside);
  if (operation.description) inside.append(make("p", {}, operation.description));
  if (parameters.length) {
    const rows = parameters.map((parameter) => make("div", {},
      make("dt", {}, make("code", {}, parameter.name), make("span", { class: "type" }, `${typeName(parameter.schema)} in the ${parameter.in}`),
        parameter.required ? make("span", { class: "must" }, "required") : null),
      make("dd", {}, parameter.description || "")));
    inside.append(make("h4", {}, "Parameters"), make("dl", { class: "fields" }, rows));
  }
  const body = bodyOf(operation);
  if (body) {
    inside.append(make("h4", {}, `Request, ${body.type}${body.required ? "" : ", optional"}`), ...fieldsOf(body.schema),
      make("h4", {}, "Example"), make("pre", {}, written(body.type, requestExample(body.schema))));
  }
  inside.append(make("h4", {}, "Answers"), ...answers(operation), trial(upper, path, item, operation));
  return shown;
}

function show() {
  at("about").textContent = `${api.info.description || ""} Version ${api.info.version}.`;
  at("base").replaceChildren(...(api.servers || []).map(({ url }) => make("option", { value: url }, url)));
  const tags = new Map((api.tags || []).map((tag) => [tag.name, { about: tag.description || "", found: [] }]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const tag = (item[method].tags || ["Others"])[0];
      if (!tags.has(tag)) tags.set(tag, { about: "", found: [] });
      tags.get(tag).found.push(operationShown(path, method, item, item[method]));
    }
  }
  const sections = [...tags].filter(([, { found }]) => found.length).map(([name, { about, found }]) =>
    make("section", { "aria-label": name }, make("h2", {}, name), make("p", { class: "quiet" }, about), found));
  at("operations").replaceChildren(...sections);
}

at("access").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const said = at("access-said");
  const body = new URLSearchParams({ grant_type: "client_credentials", client_id: form.elements.id.value.trim(), client_secret: form.elements.secret.value.trim() });
  try {
    const response = await fetch("/oauth/token", { method: "POST", body, cache: "no-store", credentials: "omit" });
    const answer = await response.json();
    token = response.ok ? answer.access_token : null;
    if (response.ok) form.elements.secret.value = "";
    said.textContent = response.ok ? `Token received, valid for ${answer.expires_in} s. Requests are sent with it.` : `${response.status}: ${answer.Message}`;
  } catch (error) {
    said.textContent = "No answer: " + error.message;
  }
});

function openLinked() {
  const linked = location.hash.length > 1 && at(location.hash.slice(1));
  if (linked && linked.tagName === "DETAILS") linked.open = true;
}
addEventListener("hashchange", openLinked);

fetch("/openapi.json").then((response) => response.json()).then((read) => {
  api = read;
  show();
  openLinked();
}).catch((error) => { at("operations").textContent = "openapi.json can't be read: " + error.message; });
