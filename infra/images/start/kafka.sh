#!/bin/bash
# Starts a Kafka node: KAFKA_NODE_ID is node.id and so on, as in Apache's own image.
# Three underscores are a dash, two an underscore, one a dot. CLUSTER_ID is the cluster's.
set -euo pipefail

config=/tmp/server.properties
export KAFKA_LOG_DIRS=${KAFKA_LOG_DIRS:-/var/lib/kafka/data}
: >"$config"
for variable in $(compgen -A export KAFKA_); do
  case $variable in KAFKA_HEAP_OPTS) continue ;; esac
  name=${variable#KAFKA_}
  name=${name,,}
  name=${name//___/-}
  name=${name//__/=}  # stands for an underscore until the dots are in
  name=${name//_/.}
  printf '%s=%s\n' "${name//=/_}" "${!variable//\\/\\\\}" >>"$config"
done

java=(/opt/java/bin/java @/opt/kafka/java.arguments)
read -ra heap <<<"${KAFKA_HEAP_OPTS:-}"
java+=("${heap[@]}")
"${java[@]}" kafka.tools.StorageTool format --ignore-formatted \
  --cluster-id "${CLUSTER_ID:?is missing: 22 characters, the same for all nodes}" --config "$config"
exec "${java[@]}" kafka.Kafka "$config"
