// Shows the OpenAPI document. Everything is put in as text, never as markup.

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** An element with attributes and children. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

/** The schema that a reference names. */
function resolve(api, schema) {
  const name = schema?.$ref?.split('/').pop();
  return name ? (api.components?.schemas?.[name] ?? {}) : (schema ?? {});
}

/** A schema as a line or a few of text, to a bounded depth. */
function describe(api, given, depth = 0) {
  const schema = resolve(api, given);
  const indent = '  '.repeat(depth + 1);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map((choice) => describe(api, choice, depth)).join(' | ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  const types = [schema.type].flat().filter(Boolean);
  if (types.includes('array')) return `[${depth > 3 ? '…' : describe(api, schema.items, depth)}]`;
  if (schema.properties) {
    if (depth > 2) return given?.$ref ? given.$ref.split('/').pop() : '{…}';
    const fields = Object.entries(schema.properties).map(([name, field]) => {
      const optional = schema.required?.includes(name) ? '' : '?';
      const note = field.description ?? resolve(api, field).description;
      const comment = note ? `  // ${note.split('\n')[0]}` : '';
      return `${indent}${name}${optional}: ${describe(api, field, depth + 1)},${comment}`;
    });
    return `{\n${fields.join('\n')}\n${'  '.repeat(depth)}}`;
  }
  const format = schema.format ? ` (${schema.format})` : '';
  return (types.join(' | ') || 'any') + format;
}

function table(caption, rows) {
  if (rows.length === 0) return undefined;
  const body = rows.map(([name, text]) => el('tr', {}, el('td', {}, el('code', {}, name)), el('td', {}, text)));
  return el('table', {}, el('caption', {}, caption), ...body);
}

function schemaOf(content) {
  return Object.values(content ?? {})[0]?.schema;
}

function bodyBlock(api, title, schema) {
  if (!schema) return undefined;
  return el('details', {}, el('summary', {}, title), el('pre', {}, describe(api, schema)));
}

function endpoint(api, path, method, operation) {
  const open = operation.security?.some((choice) => Object.keys(choice).length === 0) || operation.tags?.includes('health');
  const parameters = (operation.parameters ?? []).map((p) => [p.name, `${p.in}: ${p.description ?? ''}`]);
  const responses = Object.entries(operation.responses ?? {}).map(([status, response]) => [status, response.description]);
  const success = Object.entries(operation.responses ?? {}).find(([status]) => status.startsWith('2'))?.[1];
  return el('article', { id: operation.anchor },
    el('h3', {},
      el('span', { class: `method ${method}` }, method.toUpperCase()),
      el('code', {}, path),
      el('span', { class: 'lock' }, open ? '' : 'needs a token')),
    el('p', {}, [operation.summary, operation.description].filter(Boolean).join(' ')),
    table('Parameters', parameters),
    bodyBlock(api, 'Request body', schemaOf(operation.requestBody?.content)),
    bodyBlock(api, 'Answer', schemaOf(success?.content)),
    table('Statuses', responses));
}

function show(api) {
  document.querySelector('#about').textContent = api.info.description ?? '';
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const operation = { ...item[method], anchor: `${method}-${path.replace(/[^a-z]+/gi, '-')}` };
      const tag = operation.tags?.[0] ?? 'other';
      groups.set(tag, [...(groups.get(tag) ?? []), { path, method, operation }]);
    }
  }
  const main = document.querySelector('#endpoints');
  main.replaceChildren();
  const links = [];
  for (const [tag, entries] of groups) {
    main.append(el('h2', {}, tag), ...entries.map((e) => endpoint(api, e.path, e.method, e.operation)));
    links.push(...entries.map((e) => el('li', {}, el('a', { href: `#${e.operation.anchor}` }, el('code', {}, `${e.method.toUpperCase()} ${e.path}`)))));
  }
  document.querySelector('#contents').replaceChildren(el('ul', {}, ...links));
}

try {
  const response = await fetch('/openapi.json');
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  show(await response.json());
} catch (error) {
  document.querySelector('#endpoints').replaceChildren(el('p', { role: 'alert' }, `The document could not be loaded: ${error.message}`));
}
