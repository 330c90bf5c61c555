// npm's apns2 with the options it ships with: 32 connections, and one push at a time on each.
// It knows Apple's port alone, so its pool is made again, by its own undici, for ours.
import { readFileSync } from "node:fs";
import { ApnsClient, Notification, Priority, PushType } from "apns2";
import { Pool } from "undici";
import { job, measure, message, token, topic } from "./measure.mjs";

const client = new ApnsClient({
  team: "TEAM567890", keyId: "ABCDE12345", signingKey: readFileSync(job.key_file), defaultTopic: topic,
});
await client.client.destroy();
client.client = new Pool(`https://127.0.0.1:${job.port}`, {
  connections: 32, pipelining: 1, allowH2: true, maxConcurrentStreams: 100,
  connect: { ca: readFileSync(job.ca_file) },
});
const { aps, ...data } = message();

await measure(async (number) => {
  await client.send(new Notification(token(number), {
    type: PushType.voip, priority: Priority.immediate, expiration: 0, aps, data,
  }));
  return true; // anything but 200 is thrown
});
