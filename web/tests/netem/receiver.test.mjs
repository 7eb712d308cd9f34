// A receiver in Chromium behind a bad link; the publisher's is good.
import { after, before } from 'node:test';
import { Link, startNode } from './net.mjs';
import { estimateOfNode, publish, watch } from './call.mjs';
import { scenarios } from './scenarios.mjs';

let node;
let publisher;
let watcher;

before(async () => {
  node = await startNode();
  const [clean, bad] = await Promise.all([Link.open(), Link.open({ seed: 7 })]);
  publisher = await publish(node, clean, 'receiver');
  watcher = await watch(node, bad, 'receiver');
});

after(async () => {
  await Promise.all([publisher, watcher].map((it) => it?.close()));
  await node?.stop();
});

scenarios(() => ({ watcher, link: watcher.link, way: 'down', estimated: estimateOfNode(node) }));
