// What a run is told by the environment, with what it is without.
const env = (name, otherwise) => __ENV[name] ?? otherwise;

/** Where nodes are reached, by sockets in turn. */
export const urls = env('URLS', 'http://127.0.0.1:8080').split(',');
/** The nodes' JWT_SECRET: every client is a user of its own. */
export const secret = env('JWT_SECRET', '');
/** How many sockets in all, an even number: rooms are of two. */
export const connections = Number(env('CONNECTIONS', 200));
/** How many of them join in a second. */
export const rate = Number(env('RATE', 50));
/** How long they stay once all are there, in seconds. */
export const hold = Number(env('HOLD', 20));
/** How many virtual users they are spread over. Each is a JavaScript engine: some megabytes of memory, and no more than one core. */
export const vus = Number(env('VUS', Math.max(1, Math.min(20, Math.ceil(connections / 500)))));
/** How often a pair makes an offer and an answer, and says something, in seconds. */
export const every = Number(env('EVERY', 5));

/** How long all joins take, in seconds. */
export const ramp = Math.ceil(connections / rate);
