#!/bin/sh
# Write the passwords that compose.yaml reads into ./secrets, once: sh compose/secrets.sh
set -eu
cd "$(dirname "$0")/.."
folder=${1:-secrets}
if [ -e "$folder" ]; then
  echo "$folder is there already; remove it to make new passwords." >&2
  exit 1
fi

random() { od -An -tx1 -N24 /dev/urandom | tr -d ' \n'; }
database=$(random) broker=$(random) storage=$(random)

# Compose mounts a secret with the mode that it has here, and each service reads it as a user of its
# own: the files are open, the folder is closed.
umask 022
mkdir -m 700 "$folder"
cd "$folder"
printf '%s' "$database" > database_password
printf 'postgresql://zoo:%s@database:5432/zoo' "$database" > database_url
printf 'requirepass %s\n' "$broker" > broker.conf
printf 'redis://:%s@broker:6379/0' "$broker" > broker_url
cat > storage.json <<END
{"identities": [{"name": "zoo", "credentials": [{"accessKey": "zoo", "secretKey": "$storage"}],
  "actions": ["Admin", "Read", "Write", "List"]}]}
END
cat > storage_credentials <<END
[default]
aws_access_key_id = zoo
aws_secret_access_key = $storage
END
# Without it anybody on the network may change identities through the gateway's gRPC port.
printf '[jwt.filer_signing]\nkey = "%s"\n' "$(random)" > storage_security.toml
