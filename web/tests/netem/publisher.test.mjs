// A publisher in Chromium behind a bad link; the receiver's is good.
import { after, before } from 'node:test';
import { Link, startNode } from './net.mjs';
import { estimateOfPage, publish, watch } from './call.mjs';
import { scenarios } from './scenarios.mjs';

let node;
let publisher;
let watcher;

before(async () => {
  node = await startNode();
  const [clean, bad] = await Promise.all([Link.open(), Link.open({ seed: 7 })]);
  publisher = await publish(node, bad, 'publisher');
  watcher = await watch(node, clean, 'publisher');
});

after(async () => {
  await Promise.all([publisher, watcher].map((it) => it?.close()));
  await node?.stop();
});

scenarios(() => ({ watcher, link: publisher.link, way: 'up', estimated: estimateOfPage(publisher) }));
