# shellcheck shell=bash
# Ports and environment that confine a RabbitMQ, its rabbitmqctl and its epmd to one folder and to loopback.
# Sourced by private-broker: $dir is the folder.
# shellcheck disable=SC2154

environment() { # <first port>
  local -i first=$1
  unset NOTIFY_SOCKET "${!RABBITMQ_@}"
  export UR_PRIVATE_BROKER=$dir HOME=$dir ERL_EPMD_PORT=$first ERL_EPMD_ADDRESS=127.0.0.1
  export RABBITMQ_NODENAME=ur@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$((first + 1)) RABBITMQ_DIST_PORT=$((first + 2))
  export RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf RABBITMQ_CONFIG_FILES=$dir/conf.d RABBITMQ_ADVANCED_CONFIG_FILE=$dir/advanced.config RABBITMQ_CONF_ENV_FILE=$dir/rabbitmq-env.conf
  export RABBITMQ_MNESIA_BASE=$dir/data RABBITMQ_LOG_BASE=$dir/log RABBITMQ_LOGS=$dir/log/broker.log RABBITMQ_PID_FILE=$dir/broker.pid
  export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/enabled_plugins RABBITMQ_GENERATED_CONFIG_DIR=$dir/config RABBITMQ_PLUGINS_EXPAND_DIR=$dir/plugins
  # Distribution up before RabbitMQ's own code runs spares the start of a second Erlang machine: 1.4 s of 6.6.
  local distribution="-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
  export RABBITMQ_CTL_ERL_ARGS=$distribution
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="$distribution -sname ur@localhost -kernel inet_dist_listen_min $RABBITMQ_DIST_PORT -kernel inet_dist_listen_max $RABBITMQ_DIST_PORT"
  export PATH=/usr/lib/rabbitmq/bin:$PATH # Debian's wrappers in /usr/sbin insist on root and on user rabbitmq
}

in_use() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; } # <port>

# Takes four ports: epmd, AMQP, distribution, management. epmd comes first because its bind is the lock: of two
# brokers that choose the same block at the same moment, one has an epmd that ends, and chooses again.
take_ports() { # <first>
  local port deadline=$((SECONDS + 5))
  for port in "$1" $(($1 + 1)) $(($1 + 2)) $(($1 + 3)); do
    ! in_use "$port" || return 1
  done
  environment "$1"
  setsid epmd -port "$1" -address 127.0.0.1 </dev/null &>/dev/null &
  disown # or bash reports its end
  until in_use "$1"; do
    kill -0 "$!" 2>/dev/null && ((SECONDS < deadline)) || return 1
    sleep 0.01
  done
  sleep 0.02 # the port may be the other's, and ours about to end
  kill -0 "$!" 2>/dev/null
}

choose_ports() {
  local first
  if [[ -e $dir/port ]]; then
    first=$(<"$dir/port")
    take_ports "$first" || die "a port of $first to $((first + 3)) is taken, and $dir had them before: free it, or use another folder"
    return
  fi
  # Below 32768, where Linux takes the ports of outgoing connections: nothing slips in between stop and start.
  for _ in {1..50}; do
    first=$((20000 + RANDOM % 3000 * 4))
    if take_ports "$first"; then
      printf '%s\n' "$first" >"$dir/port"
      return
    fi
  done
  die 'found no four free ports from 20000 to 31999 on 127.0.0.1: is epmd in the PATH?'
}
