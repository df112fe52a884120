import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { Widget } from "@lumino/widgets";
import { Card } from "../../bb_jupyter/frontend/approval.js";
import { Board } from "../../bb_jupyter/frontend/board.js";
import type { Bottle, Client } from "../../bb_jupyter/frontend/client.js";

/** Media type of a waiting request in a cell; its data is the number alone (`bb_jupyter/notebook/views/approval_cards.py`). */
const CARD = "application/vnd.bb-jupyter.approval+json";
/** Media type of the dashboard; its data identifies a host and user (`bb_jupyter/notebook/views/dashboard.py`). */
const DASHBOARD = "application/vnd.bb-jupyter.console+json";

/** Shows data of the server, never data of the output, because an output may have come with a foreign notebook. */
abstract class ServerRenderer extends Widget implements IRenderMime.IRenderer {
  constructor() {
    super();
    this.addClass("bb-ui");
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    try {
      this.node.replaceChildren(await this.draw(model.data));
    } catch (error) {
      this.node.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  protected abstract draw(data: IRenderMime.IMimeModel["data"]): Promise<Node>;
}

/** A request in a cell; its buttons call the server, so they work while the cell runs. */
class CardRenderer extends ServerRenderer {
  constructor(private readonly client: Client) {
    super();
  }

  protected async draw(data: IRenderMime.IMimeModel["data"]): Promise<Node> {
    const { id } = (data[CARD] ?? {}) as { id?: unknown };
    if (!Number.isSafeInteger(id)) {
      return document.createTextNode("");
    }
    const approval = await this.client.ask("GET", `approvals/${id}`);
    const card = new Card(approval, body => this.client.ask("POST", `approvals/${id}`, body));
    card.settle(approval);
    return card.element;
  }
}

/** The dashboard in a cell; it is live as the panel is, with or without a kernel. */
class DashboardRenderer extends ServerRenderer {
  private board: Board | null = null;

  constructor(private readonly client: Client, private readonly open: (bottle: Bottle) => void) {
    super();
  }

  protected async draw(data: IRenderMime.IMimeModel["data"]): Promise<Node> {
    const { place } = (data[DASHBOARD] ?? {}) as { place?: unknown };
    if ((await this.client.ask("GET", "where")).place !== place) {
      return document.createTextNode("This Jupyter server does not see the bottles of this kernel.  `%bottle ls` lists them.");
    }
    this.board?.dispose();
    this.board = new Board(this.client, { open: this.open });
    return this.board.element;
  }

  override dispose(): void {
    this.board?.dispose();
    super.dispose();
  }
}

/** Register the renderers of requests and of the dashboard, before the widget's, which needs a kernel. */
export function addRenderers(rendermime: IRenderMimeRegistry, client: Client, open: (bottle: Bottle) => void): void {
  rendermime.addFactory({ safe: true, mimeTypes: [CARD], createRenderer: () => new CardRenderer(client) }, -10);
  rendermime.addFactory({ safe: true, mimeTypes: [DASHBOARD], createRenderer: () => new DashboardRenderer(client, open) }, -10);
}
