"""What a bottle may reach: the one judge of hosts, addresses, paths and routes, for manifests and for the proxy."""
