// Node's own http2 module, one session, nothing on top.
import { connect } from "node:http2";
import { readFileSync } from "node:fs";
import { job, measure, message, pushId, token, topic } from "./measure.mjs";

const session = connect(`https://127.0.0.1:${job.port}`, { ca: readFileSync(job.ca_file) });
const body = Buffer.from(JSON.stringify(message()));
session.on("error", () => {});

await measure((number) => new Promise((resolve, reject) => {
  const stream = session.request({
    ":method": "POST", ":path": `/3/device/${token(number)}`, "apns-id": pushId(number), "apns-topic": topic,
    "apns-push-type": "voip", "apns-priority": "10", "apns-expiration": "0", authorization: job.authorization,
  });
  let status = 0;
  stream.on("response", (headers) => { status = headers[":status"]; });
  stream.on("end", () => resolve(status === 200));
  stream.on("error", reject);
  stream.resume();
  stream.end(body);
}));
