"""The egress proxy: it judges connections and requests, and tunnels or intercepts them."""
