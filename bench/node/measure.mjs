// The loop of bench/clients/measure.py, for Node: see there.
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const WARM = 150, WARM_LIMIT = 3000, PATIENCE = 3000; // milliseconds
const TOKENS = Array.from({ length: 1000 }, (_, n) => createHash("sha256").update(String(n)).digest("hex"));

export const job = JSON.parse(process.argv[2]);
export const token = (number) => TOKENS[number % TOKENS.length];
export const pushId = (number) => `${number.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`;
export const topic = "com.example.app.voip";

// An object that takes `job.payload` octets as JSON.
export function message() {
  const empty = JSON.stringify({ aps: {}, text: "" }).length;
  return { aps: {}, text: "x".repeat(job.payload - empty) };
}

const quantile = (ordered, part) => (ordered.length ? ordered[Math.ceil(ordered.length * part) - 1] : null);

// `send` gives a promise of whether the push was accepted.
export async function measure(send) {
  const waits = [];
  let failed = 0, why = "", over = false, open = 0, number = 1;
  await send(0);
  async function work() {
    open += 1;
    while (!over) {
      const began = performance.now();
      try {
        if (await send(number++)) waits.push(performance.now() - began);
        else { failed += 1; why ||= "not accepted"; }
      } catch (error) {
        failed += 1;
        why ||= error.code || error.name;
        await sleep(0);
      }
    }
    open -= 1;
  }
  for (let n = 0; n < job.in_flight; n++) work();
  let began = performance.now();
  await sleep(WARM);
  while (waits.length + failed < job.in_flight && performance.now() - began < WARM_LIMIT) await sleep(10);
  const first = waits.length, cpu = process.cpuUsage();
  began = performance.now();
  await sleep(job.seconds * 1000);
  const seconds = (performance.now() - began) / 1000, used = process.cpuUsage(cpu);
  over = true;
  const counted = waits.slice(first).sort((a, b) => a - b);
  let ended = -1;
  while (open && waits.length + failed > ended) {
    ended = waits.length + failed;
    const heard = performance.now();
    while (open && waits.length + failed === ended && performance.now() - heard < PATIENCE) await sleep(10);
  }
  console.log(JSON.stringify({
    answered: counted.length, seconds, cpu: (used.user + used.system) / 1e6,
    p50: quantile(counted, 0.5), p99: quantile(counted, 0.99), failed, lost: open, why,
  }));
  process.exit(0);
}
