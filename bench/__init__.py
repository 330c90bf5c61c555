"""The benchmark of the connection to APNs beside other clients, and its soak. Read docs/performance.md."""
