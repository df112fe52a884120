import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { Widget } from "@lumino/widgets";
import { Card } from "../../bb_jupyter/frontend/approval.js";
import type { Client } from "../../bb_jupyter/frontend/client.js";

/** What a cell publishes while a proposal waits: its number and nothing else. */
const MIME = "application/vnd.bb-jupyter.approval+json";

/**
 * A proposal inside a cell.  All that it shows comes from the server, by the proposal's number: an output that came with
 * a notebook cannot put words into it.  Its buttons ask the server, so they work while the cell runs.
 */
class CardRenderer extends Widget implements IRenderMime.IRenderer {
  constructor(private readonly client: Client) {
    super();
    this.addClass("bb-console");
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const { id } = (model.data[MIME] ?? {}) as { id?: unknown };
    if (!Number.isSafeInteger(id)) {
      return;
    }
    try {
      const approval = await this.client.ask("GET", `approvals/${id}`);
      const card = new Card(approval, body => this.client.ask("POST", `approvals/${id}`, body));
      this.node.replaceChildren(card.element);
      card.settle(approval);
    } catch (error) {
      this.node.textContent = error instanceof Error ? error.message : String(error);
    }
  }
}

/** Let cells show proposals. */
export function addCards(rendermime: IRenderMimeRegistry, client: Client): void {
  rendermime.addFactory({ safe: true, mimeTypes: [MIME], createRenderer: () => new CardRenderer(client) }, 0);
}
