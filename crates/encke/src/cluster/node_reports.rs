//! How this node and all others are, as operators see them. A node that does not answer is told of as such;
//! what the others say is worth knowing without it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use encke_engine::NodeId;
use encke_proto::{ErrorCode, Time};
use futures_util::future::join_all;

use super::Nodes;
use crate::stats::{NodeReport, Point, Stats};

/// The reports of all nodes.
#[derive(Clone)]
pub struct NodeReports {
    stats: Arc<Stats>,
    nodes: Option<Arc<Nodes>>,
}

/// A node that lives and has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentNode {
    /// What its operator calls it.
    pub node: String,
    /// Its incarnation.
    pub id: NodeId,
    /// Why there is no answer.
    pub why: ErrorCode,
}

impl NodeReports {
    /// Of this node, and of the others if there are any.
    #[must_use]
    pub fn new(stats: Arc<Stats>, nodes: Option<Arc<Nodes>>) -> Self {
        Self { stats, nodes }
    }

    /// What this node knows of itself.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// How this node is.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn own(&self) -> Result<NodeReport, ErrorCode> {
        let id = self.nodes.as_ref().and_then(|nodes| nodes.membership.me()).map(|id| id.to_string());
        Ok(NodeReport { id, ..self.stats.report().await? })
    }

    /// How all nodes are that live, by name, and which of them do not answer.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard of this node does not answer.
    pub async fn all(&self) -> Result<(Vec<NodeReport>, Vec<SilentNode>), ErrorCode> {
        let (mut reports, mut silent) = (vec![self.own().await?], Vec::new());
        for (answer, node, id) in self.ask(None).await {
            match answer {
                Ok((report, _)) => reports.push(NodeReport { id: Some(id.to_string()), ..report }),
                Err(why) => silent.push(SilentNode { node, id, why }),
            }
        }
        reports.sort_by(|one, other| (&one.node, &one.id).cmp(&(&other.node, &other.id)));
        Ok((reports, silent))
    }

    /// What happened on all nodes in each step of the last `minutes`, the oldest first. What a node has not
    /// told is missing in it.
    pub async fn history(&self, minutes: u32) -> Vec<Point> {
        let mut by_time: BTreeMap<Time, Point> = BTreeMap::new();
        let mut add = |points: Vec<Point>| {
            for point in points {
                let sum = match by_time.remove(&point.time) {
                    Some(others) => others.plus(&point),
                    None => point,
                };
                by_time.insert(sum.time, sum);
            }
        };
        add(self.stats.points(minutes));
        for (answer, ..) in self.ask(Some(minutes)).await {
            answer.into_iter().for_each(|(_, points)| add(points));
        }
        by_time.into_values().collect()
    }

    /// What the other nodes report; none of a node that has died meanwhile.
    async fn ask(&self, minutes: Option<u32>) -> Vec<(Result<Reported, ErrorCode>, String, NodeId)> {
        let Some(nodes) = &self.nodes else { return Vec::new() };
        let asked = nodes.membership.others().into_iter().filter_map(|id| {
            let name = nodes.membership.name(id)?;
            Some(async move { (nodes.rpc.ask_report(id, minutes).await, name, id) })
        });
        let answers = join_all(asked).await.into_iter();
        answers.filter_map(|(answer, name, id)| Some((answer.transpose()?, name, id))).collect()
    }
}

/// A report, and the steps of its history as far as they were asked for.
pub(super) type Reported = (NodeReport, Vec<Point>);

impl fmt::Debug for NodeReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeReports").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}
