import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { Widget } from "@lumino/widgets";
import { Card } from "../../bb_jupyter/frontend/approval.js";
import { Board } from "../../bb_jupyter/frontend/board.js";
import type { Bottle, Client } from "../../bb_jupyter/frontend/client.js";

/** What a cell publishes while a proposal waits: its number and nothing else (`bb_jupyter/notebook/cards.py`). */
const CARD = "application/vnd.bb-jupyter.approval+json";
/** What the dashboard publishes: whose bottles it means (`bb_jupyter/notebook/dashboard.py`). */
const CONSOLE = "application/vnd.bb-jupyter.console+json";

/** Shows what the server tells and nothing of what the output says: an output may have come with a notebook. */
abstract class Drawn extends Widget implements IRenderMime.IRenderer {
  constructor() {
    super();
    this.addClass("bb-console");
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

/** A proposal inside a cell; its buttons ask the server, so they work while the cell runs. */
class DrawnCard extends Drawn {
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

/** The dashboard inside a cell: as live as the panel, with or without a kernel. */
class DrawnConsole extends Drawn {
  private board: Board | null = null;

  constructor(private readonly client: Client, private readonly open: (bottle: Bottle) => void) {
    super();
  }

  protected async draw(data: IRenderMime.IMimeModel["data"]): Promise<Node> {
    const { place } = (data[CONSOLE] ?? {}) as { place?: unknown };
    if ((await this.client.ask("GET", "where")).place !== place) {
      return document.createTextNode("These bottles are not those of this Jupyter server: %bottle ls shows them.");
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

/** Let cells show proposals and the dashboard; before a widget, which needs its kernel. */
export function addDrawn(rendermime: IRenderMimeRegistry, client: Client, open: (bottle: Bottle) => void): void {
  rendermime.addFactory({ safe: true, mimeTypes: [CARD], createRenderer: () => new DrawnCard(client) }, -10);
  rendermime.addFactory({ safe: true, mimeTypes: [CONSOLE], createRenderer: () => new DrawnConsole(client, open) }, -10);
}
