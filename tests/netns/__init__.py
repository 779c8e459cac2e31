"""Networks whose nodes live in network namespaces of their own, joined by veth links that can be cut."""
