"""What the whole bridge can take: webhooks in, pushes out, through real processes, with durable commits."""
