import type { Event, ServiceManager } from "@jupyterlab/services";
import { ServerConnection } from "@jupyterlab/services";
import type { Changed, Client } from "../../bb_jupyter/frontend/client.js";
import { unwrap } from "../../bb_jupyter/frontend/client.js";

/** Schema of the events of `bb_jupyter/server/events.py`. */
const SCHEMA = "https://bb-jupyter.invalid/changed/v1";

/** Calls the server of this JupyterLab, and receives changes from Jupyter's event stream. */
export class RestClient implements Client {
  constructor(private readonly services: ServiceManager.IManager) {}

  async ask(method: string, path: string, body?: object): Promise<any> {
    const settings = this.services.serverSettings;
    const url = new URL(`bb-jupyter/${path}`, settings.baseUrl).href;
    const request = { method, ...(body ? { body: JSON.stringify(body) } : {}) };
    const response = await ServerConnection.makeRequest(url, request, settings);
    return unwrap({ status: response.status, body: await response.json().catch(() => ({})) });
  }

  onChange(hear: (changed: Changed) => void): () => void {
    const slot = (_: Event.IManager, event: Event.Emission) => {
      if (event.schema_id === SCHEMA) {
        hear(event as Changed);
      }
    };
    this.services.events.stream.connect(slot);
    return () => this.services.events.stream.disconnect(slot);
  }
}
