// Log as a Node application with npm's splunk-logging does: argv is url, token, number of events.
const { Logger } = require("splunk-logging");

const [url, token, count] = process.argv.slice(2);
const logger = new Logger({ url, token, maxBatchCount: 8 });
logger.error = (error) => {
  process.exitCode = 1;
  console.error(error);
};
const metadata = (number) => ({
  time: 1700000000.25 + number,
  host: "web-3",
  source: "shop",
  sourcetype: "node",
  index: "main",
});
for (let number = 0; number < Number(count); number++) {
  logger.send({ message: { number }, severity: "warn", metadata: metadata(number) });
}
logger.flush(); // Node ends when all replies have come
