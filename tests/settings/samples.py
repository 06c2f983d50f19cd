"""Sample configurations, with the names that their users gave."""

DEVELOPMENT = """
[database]
url = "postgresql://localhost:5432/scheduler_dev"
pool_size = 10

[message_queue]
type = "rabbitmq"
host = "localhost"
port = 5672
username = "guest"
password = "guest"

[api]
host = "127.0.0.1"
port = 8080

[dispatcher]
max_workers = 50
task_timeout_seconds = 3600

[worker]
heartbeat_interval_seconds = 30
max_concurrent_tasks = 5
"""

PRODUCTION = """
[database]
url = "postgresql://db.internal:5432/scheduler"
pool_size = 50
connection_timeout_seconds = 30

[message_queue]
type = "rabbitmq"
host = "mq.internal"
port = 5672
username = "scheduler"
password = "${RABBITMQ_PASSWORD}"

[api]
host = "0.0.0.0"
port = 8080
cors_origins = ["https://scheduler.example.com"]

[dispatcher]
max_workers = 100
task_timeout_seconds = 7200

[worker]
heartbeat_interval_seconds = 30
max_concurrent_tasks = 10

[observability]
log_level = "info"
metrics_enabled = true
tracing_enabled = true
"""

LIGHT = """
schedule:
  leader_lock_ttl: 10s
  leader_renew_interval: 3s
  scan_interval: 5s

worker:
  heartbeat_interval: 10s
  heartbeat_timeout: 30s
  max_concurrent_tasks: 10

task:
  default_timeout: 5m
  max_retry: 3
  retry_delay: 10s
  backoff_rate: 2.0

redis:
  addr: "localhost:6379"
  password: ""
  db: 0
  pool_size: 10
"""
