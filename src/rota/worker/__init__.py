"""The working role: a session, slots, and the pipeline of an attempt. It sees a desk, never a store."""
