import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette, Notification } from "@jupyterlab/apputils";
import { oneLine } from "../../bb_jupyter/frontend/dom.js";
import { title } from "../../bb_jupyter/frontend/approval.js";
import type { Approval, Bottle } from "../../bb_jupyter/frontend/client.js";
import "./kinds.js";
import { Notifications } from "./notifications.js";
import { Panel } from "./panel.js";
import { addRenderers } from "./renderers.js";
import { RestClient } from "./rest.js";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";

const SHOW = "bb-jupyter:show";
const REFRESH = "bb-jupyter:refresh";
const CATEGORY = "Bottles";

const plugin: JupyterFrontEndPlugin<void> = {
  id: "bb-jupyter:plugin",
  description: "Bottles and approvals in a sidebar",
  autoStart: true,
  optional: [ICommandPalette, IRenderMimeRegistry],
  activate: (app: JupyterFrontEnd, palette: ICommandPalette | null, rendermime: IRenderMimeRegistry | null) => {
    const client = new RestClient(app.serviceManager);
    const notifications = new Notifications(approval => notify(app, approval), id => Notification.dismiss(id));
    const open = (bottle: Bottle) => void openNotebook(app, bottle);
    const panel = new Panel(client, open, approvals => notifications.update(approvals));
    app.shell.add(panel, "left", { rank: 400, type: "Bottles" });
    app.commands.addCommand(SHOW, { label: "Show Bottles and Approvals", execute: () => app.shell.activateById(panel.id) });
    app.commands.addCommand(REFRESH, { label: "Refresh Bottles", execute: () => panel.board.load() });
    for (const command of [SHOW, REFRESH]) {
      palette?.addItem({ command, category: CATEGORY });
    }
    if (rendermime) {
      addRenderers(rendermime, client, open);
    }
  },
};

/** Show a notification of a request, and return its id. */
function notify(app: JupyterFrontEnd, approval: Approval): string {
  const actions = [{ label: "Show", callback: () => void app.commands.execute(SHOW) }];
  return Notification.info(oneLine(title(approval)).slice(0, 140), { autoClose: 15_000, actions });
}

async function openNotebook(app: JupyterFrontEnd, bottle: Bottle): Promise<void> {
  await app.serviceManager.sessions.refreshRunning();
  for (const session of app.serviceManager.sessions.running()) {
    if (session.kernel?.id === bottle.kernel) {
      await app.commands.execute("docmanager:open", { path: session.path });
      return;
    }
  }
  Notification.warning("No open notebook of this server has the kernel of this bottle.");
}

export default plugin;
