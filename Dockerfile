# The page of `rewardsmith collect`. Mount a folder at /data; the container writes there as the user that you name:
#   docker build -t rewardsmith-collect .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" rewardsmith-collect rewardsmith collect init project.yaml
#   docker run --user "$(id -u):$(id -g)" -v "$PWD:/data" -p 127.0.0.1:8001:8001 \
#     -e REWARDSMITH_COLLECT_SECRET -e FORWARDED_ALLOW_IPS=172.17.0.1 rewardsmith-collect
# A reverse proxy in front must speak HTTPS (docs/collect.md); 172.17.0.1 is this machine as a container sees it.
FROM python:3.11-slim
RUN useradd --create-home --uid 10001 collect
WORKDIR /src
COPY . .
RUN PIP_CONSTRAINT=constraints.txt pip install --no-cache-dir '.[collect]'
USER collect
WORKDIR /data
EXPOSE 8001
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8001/health', timeout=4)"]
CMD ["rewardsmith", "collect", "serve", "--project", "/data/project.yaml", "--host", "0.0.0.0", "--behind-proxy"]
