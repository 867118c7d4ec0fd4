/** Shows the API, as the service's own OpenAPI document describes it. */

import { $, element } from "./dom.js";

const root = new URL(".", document.baseURI);

async function showApi() {
  const answer = await fetch(new URL("openapi.json", root));
  const api = await answer.json();
  $("api-version").textContent = `Version ${api.info.version}`;
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => operationShown(api, path, method, operation)),
  );
  $("api-operations").replaceChildren(...operations);
}

function operationShown(api, path, method, operation) {
  const summary = element(
    "summary",
    {},
    element("code", { class: "method" }, method.toUpperCase()),
    element("code", { class: "path" }, path),
    element("span", { class: "hint" }, operation.description),
  );
  const parts = [
    table("Parameters", (operation.parameters ?? []).map(parameterRow)),
    ...bodies("Body", operation.requestBody?.content, api),
    table("Answers", Object.entries(operation.responses).map(([status, { description }]) => [status, description])),
    ...bodies("Answer", operation.responses[successOf(operation)]?.content, api),
    element("pre", { tabindex: "0" }, curlOf(path, method, operation)),
  ];
  return element("details", { class: "operation" }, summary, ...parts);
}

const parameterRow = (given) => [
  `${given.name}${given.required ? "" : " (may be left out)"}`,
  `${given.description ?? ""} (in the ${given.in}: ${typeOf(given.schema)})`,
];

const successOf = (operation) => Object.keys(operation.responses).find((status) => status.startsWith("2"));

/** Returns a table of the fields of each kind of content. */
function bodies(title, content, api) {
  return Object.entries(content ?? {}).map(([type, { schema }]) => {
    const fields = Object.entries(resolved(schema, api).properties ?? {});
    const rows = fields.map(([name, field]) => [name, `${field.description ?? ""} (${typeOf(field)})`]);
    return table(`${title}: ${type}`, rows.length ? rows : [["", schema?.description ?? "the file itself"]]);
  });
}

function resolved(schema, api) {
  const name = schema?.$ref?.split("/").pop();
  return name ? api.components.schemas[name] : (schema ?? {});
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(", ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.items) return `${schema.type} of ${typeOf(schema.items)}`;
  return schema.format ?? schema.type ?? "";
}

function table(title, rows) {
  if (!rows.length) return null;
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    element("h2", {}, title),
    element(
      "table",
      {},
      element(
        "tbody",
        {},
        ...rows.map(([name, text]) =>
          element("tr", {}, name ? element("th", { scope: "row" }, name) : null, element("td", {}, text)),
        ),
      ),
    ),
  );
}

function curlOf(path, method, operation) {
  const upload = operation.requestBody ? " --form 'file=@\"products.csv\"'" : "";
  const verb = method === "get" || upload ? "" : ` --request ${method.toUpperCase()}`;
  return `curl${verb} '${new URL(path.slice(1), root)}'${upload}`;
}

showApi().catch((error) => {
  $("api-operations").textContent = `The description cannot be read: ${error.message}`;
});
