import { addKind } from "../approval.js";
import { facts, list } from "../dom.js";

addKind("egress", {
  title: content => `wants to reach ${content.host}`,
  draw: ({ route, host, methods, paths, reason }) => ({
    body: [facts({ route: route || host, methods: list(methods).join(", "), paths: list(paths).join(", "), reason })],
  }),
});
