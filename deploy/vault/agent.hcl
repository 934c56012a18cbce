# A Vault agent that keeps the gateway's clients file as Vault has it. Run it as the gateway's user: the file must be its
# own, and nobody else's.
vault {
  address = "https://vault.example.org:8200"
}

auto_auth {
  method "approle" {
    config = {
      role_id_file_path   = "/etc/hadesgw/vault/role-id"
      secret_id_file_path = "/etc/hadesgw/vault/secret-id"
    }
  }
}

template {
  source      = "/etc/hadesgw/vault/clients.toml.ctmpl"
  destination = "/run/hadesgw/clients.toml"
  perms       = "0600" # the agent's own default, 0644, is refused by the gateway

  # A secret that is not as expected shall not empty the file.
  error_on_missing_key = true

  exec {
    command = ["systemctl", "reload-or-restart", "hadesgw"]
  }
}
