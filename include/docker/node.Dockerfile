# A frontend as ImageSys needs it: sshd, rsync, coreutils and findutils, and nothing of ours.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-server rsync \
    && rm -rf /var/lib/apt/lists/* \
    && rm -f /etc/ssh/ssh_host_* \
    && useradd --create-home --uid 50001 --shell /bin/sh imagesys \
    && usermod --password '*' imagesys \
    && install -d -o imagesys -g imagesys /srv/imagesys /run/sshd

# The host key and the authorised key are mounted: an image must not carry keys.
EXPOSE 22
CMD ["/usr/sbin/sshd", "-D", "-e", \
    "-o", "HostKey=/run/secrets/node_host_key", \
    "-o", "AuthorizedKeysFile=/run/secrets/node_authorized_keys", \
    "-o", "StrictModes=no", "-o", "PasswordAuthentication=no", "-o", "PermitRootLogin=no", \
    "-o", "AllowUsers=imagesys", "-o", "MaxStartups=100"]
