-----BEGIN PRIVATE KEY-----
hunter2
-----END PRIVATE KEY-----
