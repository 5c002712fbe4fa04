// Knative's sample in JavaScript: greets TARGET.
import { getEnvironment } from "wasi:cli/environment@0.2.10";

addEventListener("fetch", (event) => {
  const target = new Map(getEnvironment()).get("TARGET") ?? "World";
  event.respondWith(new Response(`Hello ${target}!\n`));
});
