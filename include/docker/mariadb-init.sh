#!/bin/sh
# Makes the schemas and the two accounts that ImageSys uses; the image runs it once, on an empty data directory.
set -eu

mariadb --user=root --password="$MARIADB_ROOT_PASSWORD" <<SQL
CREATE DATABASE IF NOT EXISTS etl CHARACTER SET utf8mb4;
CREATE DATABASE IF NOT EXISTS imagesys_shared CHARACTER SET utf8mb4;
$(for country in au br de es fr in it mx uk; do
    echo "CREATE DATABASE IF NOT EXISTS imagesys_$country CHARACTER SET utf8mb4;"
done)
CREATE USER IF NOT EXISTS 'imagesys'@'%' IDENTIFIED BY '$IMAGESYS_DB_PASSWORD';
GRANT ALL ON \`imagesys\\_%\`.* TO 'imagesys'@'%';
CREATE USER IF NOT EXISTS 'etl_reader'@'%' IDENTIFIED BY '$IMAGESYS_ETL_PASSWORD';
GRANT SELECT ON etl.* TO 'etl_reader'@'%';
SQL
